"""Training on pairs of answers of which one is preferred: DPO and its relatives (`rlsys.objectives.preference_loss`).
No sampling, no reward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import torch
from pydantic import PositiveInt, model_validator

from rlsys.batch import ComparisonBatch, PreferenceBatch
from rlsys.config.sampling import SamplingConfig
from rlsys.data.collate import collate_comparisons
from rlsys.data.load import Comparison
from rlsys.data.stream import Source
from rlsys.methods.base import Experience, Facts, Learned, Measured, Step
from rlsys.methods.shared.preferences import LossSettings, with_reference
from rlsys.methods.shared.update import update
from rlsys.objectives.preference_loss import PreferenceKind, PreferenceLoss
from rlsys.objectives.stats import merge, values
from rlsys.roles import Roles


class PairSettings(LossSettings):
    """Settings of a method that trains on given pairs; its file states `KIND`, the loss."""

    KIND: ClassVar[PreferenceKind]
    batch_size: PositiveInt = 64
    """Comparisons of one optimizer step; a ranking of several answers counts as one."""
    max_tokens: PositiveInt = 2048
    """Comparisons of which an answer with its prompt is longer are left out, and counted."""
    precomputed: bool = False
    """Take the reference's log-probs from the rows, where method reference_log_probs wrote them, and start no
    reference. They must be of reference.path, or of model.path without one."""

    @property
    def loss_kind(self) -> PreferenceKind:
        return self.KIND

    @property
    def facts(self) -> Facts:
        asks = self.loss().needs_reference and not self.precomputed
        return Facts(
            rows="comparisons",
            needs=frozenset({"policy", "reference"} if asks else {"policy"}),
            rows_per_step=self.batch_size,
            rows_together=2,
            measures=True,
        )

    @model_validator(mode="after")
    def _reference_is_asked(self) -> Self:
        if self.precomputed and not self.loss().needs_reference:
            raise ValueError(f"precomputed: {self.name} asks for no reference here; leave it out")
        return self


@dataclass(frozen=True)
class Preferred(Experience):
    batch: PreferenceBatch | None = None


@dataclass(frozen=True)
class PreferenceTraining:
    config: PairSettings
    sampling: SamplingConfig
    pad_id: int

    @cached_property
    def loss(self) -> PreferenceLoss:
        return self.config.loss()

    def collect(self, roles: Roles, source: Source[Comparison], step: Step) -> Preferred:
        batch = self.batch(roles, source.take(self.config.batch_size))
        return Preferred(step.version, metrics={"data/tokens": float(batch.lengths_B.sum())}, batch=batch)

    def learn(self, roles: Roles, experience: Experience, step: Step) -> Learned:
        assert isinstance(experience, Preferred)
        assert experience.batch is not None
        assert roles.policy is not None
        return Learned(update(roles.policy, experience.batch, self.loss, 1, 1, step.seed, step.number))

    def measure(self, roles: Roles, rows: Sequence[Comparison]) -> Measured:
        """The loss and its statistics (see `PreferenceLoss`) on held-out comparisons, as it is trained; the score is
        -loss.

        `accuracy` asks of each pair whether the answer that the label prefers gained more against the reference than
        the other one (where there is no reference: whether it is the likelier one, as the loss measures that).
        """
        assert roles.policy is not None
        size, policy = self.config.batch_size, roles.policy
        chunks = (self.batch(roles, rows[start : start + size]) for start in range(0, len(rows), size))
        metrics = values(merge(policy.evaluate(batch, self.loss) for batch in chunks))
        return Measured(metrics, score=-metrics["loss"])

    def batch(self, roles: Roles, rows: Sequence[Comparison]) -> PreferenceBatch:
        batch = collate_comparisons(rows, self.pad_id)
        return with_known(batch, rows) if self.config.precomputed else with_reference(batch, self.loss, roles.reference)


def with_known(batch: ComparisonBatch, rows: Sequence[Comparison]) -> PreferenceBatch:
    """What the rows say of the reference: `Inputs.check_reference` has seen that they do."""
    known: list[float] = []
    for row in rows:
        assert row.reference_log_probs is not None
        known += row.reference_log_probs
    return PreferenceBatch(**vars(batch), reference_log_probs_B=torch.tensor(known))
