"""Measures a model on held-out prompts and does nothing else: rewards, accuracy, pass@k, maj@k. `loop.steps: 1` is enough.

At `sampling.temperature: 0`, with one sample of a prompt (`evaluation.samples: 1`), pass@1 is that of the greedy answer.
"""

from __future__ import annotations

from dataclasses import dataclass

from rlsys.algorithm import Experience, Learned, RowKind, Step
from rlsys.config.base import Model
from rlsys.config.models import SamplingConfig
from rlsys.data.stream import Source
from rlsys.roles import Roles


class Config(Model):
    name: str = "evaluate"
    """This file."""


@dataclass(frozen=True)
class Algorithm:
    config: Config
    sampling: SamplingConfig
    pad_id: int

    needs = frozenset({"rollout", "reward"})
    updates_per_step = 1

    @property
    def rows(self) -> RowKind:
        return "prompts"

    def collect(self, roles: Roles, source: Source, step: Step) -> Experience:
        return Experience(version=step.version)

    def learn(self, roles: Roles, experience: Experience, step: Step) -> Learned:
        return Learned({})
