"""Supervised fine-tuning: cross-entropy on the assistant's tokens of demonstrations. No sampling, no reward."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import PositiveInt

from rlsys.algorithm import Experience, Learned, Step
from rlsys.batch import Batch
from rlsys.config.base import Model
from rlsys.config.models import SamplingConfig
from rlsys.data.collate import collate
from rlsys.data.stream import Stream
from rlsys.objectives.likelihood_loss import CrossEntropyLoss
from rlsys.roles import Roles
from rlsys.update import update


class Config(Model):
    name: str = "sft"
    """This file."""
    batch_size: PositiveInt = 256
    """Demonstrations of one optimizer step."""
    max_tokens: PositiveInt = 2048
    """Longer demonstrations are left out, and counted."""


@dataclass(frozen=True)
class Demonstrations(Experience):
    batch: Batch | None = None


@dataclass(frozen=True)
class Algorithm:
    config: Config
    sampling: SamplingConfig
    pad_id: int

    needs = frozenset({"policy"})
    updates_per_step = 1
    rows = "demonstrations"

    def collect(self, roles: Roles, source: Stream, step: Step) -> Demonstrations:
        return Demonstrations(version=step.version, batch=collate(source.take(self.config.batch_size), self.pad_id))

    def learn(self, roles: Roles, experience: Experience, step: Step) -> Learned:
        assert isinstance(experience, Demonstrations)
        assert experience.batch is not None
        return Learned(update(roles.policy, experience.batch, CrossEntropyLoss(), 1, 1, step.seed, step.number))
