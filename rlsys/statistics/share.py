"""A share of cases with its interval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

Z95 = 1.959964


@dataclass(frozen=True, slots=True)
class Share:
    """Of `of` cases, `count`; with Wilson's interval (1927) at 95%."""

    count: float
    of: int

    @classmethod
    def by_unit(cls, values: Iterable[Sequence[float]]) -> Share:
        """Of units (a prompt, a goal) with several values each, from 0 to 1: every unit counts as one case, with its
        mean. Values of one unit go together, so that the interval is too wide rather than too narrow. Units without a
        value are left out."""
        means = [fmean(own) for own in values if own]
        return cls(math.fsum(means), len(means))

    @property
    def value(self) -> float:
        return self.count / self.of if self.of else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        if not self.of:
            return math.nan, math.nan
        p, n, z = self.value, self.of, Z95
        middle, half = p + z * z / (2 * n), z * math.sqrt(max(p * (1 - p), 0) / n + z * z / (4 * n * n))
        return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)

    def plain(self) -> dict[str, float | int | list[float]]:
        """For JSON."""
        return {"share": self.value, "of": self.of, "interval": [*self.interval]}

    def __str__(self) -> str:
        if not self.of:
            return "none"
        low, high = self.interval
        return f"{self.value:.1%} of {self.of:,} ({low:.1%} to {high:.1%})"
