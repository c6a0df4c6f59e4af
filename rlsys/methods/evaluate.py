"""Measures a model on held-out prompts and does nothing else: rewards, accuracy, pass@k, maj@k. `loop.steps: 1` is
enough.

At `sampling.temperature: 0`, with one sample of a prompt (`evaluation.samples: 1`), pass@1 is that of the greedy
answer.
"""

from __future__ import annotations

from dataclasses import dataclass

from rlsys.config.sampling import SamplingConfig
from rlsys.data.stream import Source
from rlsys.methods.base import Experience, Facts, Learned, MethodConfig, Step
from rlsys.roles import Roles


class Config(MethodConfig):
    name: str = "evaluate"
    """This file."""

    @property
    def facts(self) -> Facts:
        return Facts("prompts", frozenset({"rollout", "reward"}), makes="measurements")


@dataclass(frozen=True)
class Method:
    config: Config
    sampling: SamplingConfig
    pad_id: int

    def collect(self, roles: Roles, source: Source, step: Step) -> Experience:
        return Experience(version=step.version)

    def learn(self, roles: Roles, experience: Experience, step: Step) -> Learned:
        return Learned({})
