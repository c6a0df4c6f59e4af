"""What DPO, its relatives and online DPO share: the settings of the loss, and the reference's part of a batch."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Self

import torch
from pydantic import NonNegativeFloat, PositiveFloat, model_validator

from rlsys.batch import Batch, ComparisonBatch, PreferenceBatch
from rlsys.methods.base import MethodConfig
from rlsys.objectives.preference_loss import PreferenceKind, PreferenceLoss
from rlsys.roles import Policy, Reference

if TYPE_CHECKING:
    from torch import Tensor

ROWS = 4096
"""Rows that are scored at once: every rank gets a copy of them, and their log-probs come back to the driver token by
token."""


class LossSettings(MethodConfig):
    """Settings of a preference loss whose `kind` the subclass states, as a fixed value or as a further key."""

    beta: PositiveFloat = 0.1
    """Factor of the log-ratios; ipo aims at a gap of 1 / (2 beta), orpo weighs its odds term by it (lambda), simpo
    takes it from 2 to 10."""
    gamma: NonNegativeFloat = 0.0
    """Margin by which the better answer must win, in units of beta times the score; simpo takes it from 0.3 to 1.6 or
    so. Not for ipo and orpo."""
    label_smoothing: NonNegativeFloat = 0.0
    """The share of labels that is believed to be wrong, below 0.5; cdpo and robust_dpo need it."""
    sft_weight: NonNegativeFloat = 0.0
    """Factor of the chosen answer's negative log-likelihood, mean over its tokens, which is added; orpo has 1 of it by
    itself."""
    length_normalized: bool = False
    """Divide an answer's log-ratio by its tokens."""
    reference_free: bool = False
    """Leave the reference out, as if it found all answers equally likely."""

    @property
    @abstractmethod
    def loss_kind(self) -> PreferenceKind: ...

    def loss(self, temperature: float = 1.0) -> PreferenceLoss:
        """Raises ValueError for settings that mean nothing."""
        return PreferenceLoss(
            kind=self.loss_kind,
            beta=self.beta,
            gamma=self.gamma,
            label_smoothing=self.label_smoothing,
            sft_weight=self.sft_weight,
            length_normalized=self.length_normalized,
            reference_free=self.reference_free,
            temperature=temperature,
        )

    @model_validator(mode="after")
    def _loss_is_one(self) -> Self:
        self.loss()
        return self


def summed_log_probs(model: Policy | Reference, batch: Batch, temperature: float) -> Tensor:
    """Of each row's trained tokens; float32 [B]."""
    if len(batch) <= ROWS:
        return model.log_probs(batch, temperature).sum(1)
    pieces = torch.arange(len(batch)).split(ROWS)
    return torch.cat([model.log_probs(batch.rows(rows), temperature).sum(1) for rows in pieces])


def with_reference(
    batch: ComparisonBatch, loss: PreferenceLoss, reference: Policy | Reference | None
) -> PreferenceBatch:
    """The batch with what the reference says of it, where the loss asks for that."""
    asked = (
        summed_log_probs(reference, batch, loss.temperature) if loss.needs_reference and reference is not None else None
    )
    return PreferenceBatch(**vars(batch), reference_log_probs_B=asked)
