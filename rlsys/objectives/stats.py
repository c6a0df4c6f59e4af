"""Statistics that add up over micro-batches, ranks and mini-batches, so that a metric does not depend on how a batch
was split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean kept as its sum and its count."""

    total: float
    count: float

    def __add__(self, other: Mean) -> Mean:
        return Mean(self.total + other.total, self.count + other.count)

    @property
    def value(self) -> float:
        return self.total / self.count if self.count else float("nan")


@dataclass(frozen=True, slots=True)
class Max:
    """A running maximum."""

    value: float

    def __add__(self, other: Max) -> Max:
        return Max(max(self.value, other.value))


@dataclass(frozen=True, slots=True)
class Variance:
    """An unbiased variance (ddof 1) kept as sum, sum of squares and count."""

    total: float
    squares: float
    count: float

    def __add__(self, other: Variance) -> Variance:
        return Variance(self.total + other.total, self.squares + other.squares, self.count + other.count)

    @property
    def value(self) -> float:
        """nan below two values, which have no variance."""
        if self.count < 2:
            return float("nan")
        return max(self.squares - self.total**2 / self.count, 0.0) / (self.count - 1)


Stat = Mean | Max | Variance
Stats = dict[str, Stat]


def masked_mean(values: Tensor, mask: Tensor) -> Mean:
    """Mean of `values` where `mask` is True (same shape), detached."""
    mask = mask.to(torch.bool)
    return Mean(float(values.detach()[mask].double().sum()), float(mask.sum()))


def masked_max(values: Tensor, mask: Tensor) -> Max:
    """Maximum of `values` where `mask` is True; -inf when nothing is."""
    chosen = values.detach()[mask.to(torch.bool)]
    return Max(float(chosen.max()) if chosen.numel() else float("-inf"))


def masked_variance(values: Tensor, mask: Tensor) -> Variance:
    """Variance of `values` where `mask` is True (same shape), detached."""
    chosen = values.detach()[mask.to(torch.bool)].double()
    return Variance(float(chosen.sum()), float(chosen.square().sum()), float(chosen.numel()))


def merge(parts: Iterable[Mapping[str, Stat]]) -> Stats:
    """Add up the same-named statistics."""
    total: Stats = {}
    for part in parts:
        for name, stat in part.items():
            total[name] = total[name] + stat if name in total else stat  # pyright: ignore[reportOperatorIssue]
    return total


def values(stats: Mapping[str, Stat]) -> dict[str, float]:
    """The plain numbers."""
    return {name: stat.value for name, stat in stats.items()}
