"""Distillation on given rows: at each of their trained tokens the student's next-token distribution is brought near the
teacher's.

The rows are demonstrations: people's, or the teacher's own, reasoning traces and all. `supervised KD` in Agarwal et al.
2024 (GKD, arXiv 2306.13649), lambda 0 there; Hinton et al. 2015 (arXiv 1503.02531) for the idea. On the student's own
samples: `on_policy_distill`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from rlsys.batch import DistillationBatch
from rlsys.config.sampling import SamplingConfig
from rlsys.data.collate import collate
from rlsys.data.load import Demonstration
from rlsys.data.stream import Source
from rlsys.methods.base import Experience, Facts, Learned, Measured, Step
from rlsys.methods.shared.distillation import Divergence, Taught
from rlsys.methods.shared.update import update
from rlsys.objectives.distillation_loss import DistillationLoss
from rlsys.objectives.stats import Stats, merge, values
from rlsys.roles import Roles

MEASURED = ("loss", "forward_kl", "reverse_kl", "nll", "agreement")


class Config(Divergence):
    name: str = "distill"
    """This file."""
    temperature: PositiveFloat = 1.0
    """Softmax temperature of teacher and student: above 1 unlikely tokens count for more. The loss is not multiplied by
    its square."""
    ce_weight: NonNegativeFloat = 0.0
    """Weight of the cross-entropy on the rows' own tokens, beside the divergence."""
    batch_size: PositiveInt = 128
    """Demonstrations of one optimizer step."""
    max_tokens: PositiveInt = 2048
    """Longer demonstrations are left out, and counted."""

    @model_validator(mode="after")
    def _one_temperature(self) -> Self:
        if self.ce_weight and self.temperature != 1:
            raise ValueError(
                f"ce_weight imitates tokens as they are, at temperature 1, and temperature is {self.temperature:g}; "
                "leave one out"
            )
        return self

    @property
    def facts(self) -> Facts:
        return Facts("demonstrations", frozenset({"policy", "teacher"}), rows_per_step=self.batch_size, measures=True)


@dataclass(frozen=True)
class Method:
    config: Config
    sampling: SamplingConfig
    pad_id: int

    @property
    def loss(self) -> DistillationLoss:
        return self.config.loss(self.config.temperature, self.config.ce_weight)

    def taught(self, roles: Roles, rows: Sequence[Demonstration]) -> DistillationBatch:
        assert roles.teacher is not None
        return roles.teacher.teach(collate(rows, self.pad_id), self.config.temperature)

    def collect(self, roles: Roles, source: Source[Demonstration], step: Step) -> Taught:
        batch = self.taught(roles, source.take(self.config.batch_size))
        return Taught(step.version, metrics={"data/tokens": float(batch.lengths_B.sum())}, batch=batch)

    def learn(self, roles: Roles, experience: Experience, step: Step) -> Learned:
        assert isinstance(experience, Taught)
        assert experience.batch is not None
        assert roles.policy is not None
        return Learned(update(roles.policy, experience.batch, self.loss, 1, 1, step.seed, step.number))

    def measure(self, roles: Roles, rows: Sequence[Demonstration]) -> Measured:
        """Means over all trained tokens of the rows, as in `DistillationLoss`. The score is -`loss`, which is what is
        trained."""
        assert roles.policy is not None
        size = self.config.batch_size
        parts: list[Stats] = [
            roles.policy.evaluate(self.taught(roles, rows[start : start + size]), self.loss)
            for start in range(0, len(rows), size)
        ]
        measured = values(merge(parts))
        return Measured({name: measured[name] for name in MEASURED}, score=-measured["loss"])
