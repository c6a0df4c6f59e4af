"""From a loss per token to one number, as a sum and what it is divided by.

Both add up over rows, so the loss is sum over all rows / count over all rows, however the rows are split. Rows without
a trained token change neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import torch

if TYPE_CHECKING:
    from torch import Tensor

ReductionName = Literal["token_mean", "sequence_mean", "sequence_sum", "constant"]


class Reduction(Protocol):
    def sum(self, values_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Scalar. Values outside the mask are not looked at and get a gradient of exactly 0."""
        ...

    def count(self, mask_BT: Tensor) -> float: ...


@dataclass(frozen=True, slots=True)
class TokenMean:
    """Every token weighs the same: sum over tokens / tokens (DAPO, Yu et al. 2025, arXiv 2503.14476)."""

    def sum(self, values_BT: Tensor, mask_BT: Tensor) -> Tensor:
        return torch.where(mask_BT, values_BT, 0).sum()

    def count(self, mask_BT: Tensor) -> float:
        return float(mask_BT.sum())


@dataclass(frozen=True, slots=True)
class SequenceMean:
    """Every sequence weighs the same: sum over sequences of their token mean / sequences (GRPO, arXiv 2402.03300)."""

    def sum(self, values_BT: Tensor, mask_BT: Tensor) -> Tensor:
        return (torch.where(mask_BT, values_BT, 0).sum(1) / mask_BT.sum(1).clamp(min=1)).sum()

    def count(self, mask_BT: Tensor) -> float:
        return float(mask_BT.any(1).sum())


@dataclass(frozen=True, slots=True)
class Constant:
    """Every token weighs the same, whatever the lengths: sum over tokens / (sequences x max_length) (Dr. GRPO, arXiv
    2503.20783)."""

    max_length: int

    def sum(self, values_BT: Tensor, mask_BT: Tensor) -> Tensor:
        return torch.where(mask_BT, values_BT, 0).sum()

    def count(self, mask_BT: Tensor) -> float:
        return float(mask_BT.any(1).sum()) * self.max_length


def make_reduction(name: ReductionName, max_length: int) -> Reduction:
    """By name. `max_length` is the longest possible response, in tokens; only `constant` uses it.

    `sequence_sum` is the sum of each sequence, averaged over sequences: the gradient of a sequence's log-prob
    (REINFORCE)."""
    choices: dict[ReductionName, Reduction] = {
        "token_mean": TokenMean(),
        "sequence_mean": SequenceMean(),
        "sequence_sum": Constant(1),
        "constant": Constant(max_length),
    }
    return choices[name]


def normalizer(reduction: Reduction, mask_BT: Tensor) -> float:
    """The count of a whole batch. ValueError if no token is trained on, because such a batch has no loss."""
    count = reduction.count(mask_BT)
    if not count:
        raise ValueError(f"none of the batch's {len(mask_BT)} sequences has a token to train on")
    return count
