"""Whether preferences move away from an old reward model: its agreement with newer and newer comparisons."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rlsys.judging.auditing.quality import wins
from rlsys.statistics.share import Share


@dataclass(frozen=True, slots=True)
class Aged:
    """A comparison, when it was made, and the probability that the reward model gives to the better answer."""

    time: str | float
    probability: float


@dataclass(frozen=True, slots=True)
class Slice:
    begin: str
    agreement: Share
    """A tie counts half."""
    below_first: tuple[float, float]
    """Interval at 95% of the first slice's agreement less this one's."""

    @property
    def alarm(self) -> bool:
        """Whether agreement lies below the first slice's by more than chance explains."""
        return self.below_first[0] > 0


def slices(rows: Sequence[Aged], count: int) -> list[Slice]:
    """Of equally many comparisons each, the oldest first; comparisons of one time stay in their order."""
    ordered = sorted(rows, key=lambda one: one.time)
    size = math.ceil(len(ordered) / count)
    parts = [ordered[start : start + size] for start in range(0, len(ordered), size or 1)]
    shares = [Share(math.fsum(wins(one.probability) for one in part), len(part)) for part in parts]
    return [
        Slice(str(part[0].time), share, newcombe(shares[0], share)) for part, share in zip(parts, shares, strict=True)
    ]


def newcombe(one: Share, other: Share) -> tuple[float, float]:
    """95% interval of the difference of two independent shares, from their Wilson intervals (Newcombe 1998, Statistics
    in Medicine 17, method 10):

        low = d - sqrt((p1 - l1)^2 + (u2 - p2)^2), high = d + sqrt((u1 - p1)^2 + (p2 - l2)^2)
    """
    difference = one.value - other.value
    (low, high), (other_low, other_high) = one.interval, other.interval
    return (
        difference - math.hypot(one.value - low, other_high - other.value),
        difference + math.hypot(high - one.value, other.value - other_low),
    )
