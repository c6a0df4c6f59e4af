"""One benchmark's outcome: pairs of measurements, and the ratio they make."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Aim:
    """What the ratio should be: at least `value` if more is better, else at most."""

    value: float
    more_is_better: bool

    def met(self, ratio: float) -> bool:
        return ratio >= self.value if self.more_is_better else ratio <= self.value

    def __str__(self) -> str:
        return f"{'≥' if self.more_is_better else '≤'} {self.value:g}"


@dataclass(frozen=True)
class Result:
    """Measurements in pairs: ours[i] and baseline[i] were taken one right after the other."""

    benchmark: str
    size: str
    """Playground size of the model."""
    measure: str
    """What is compared with what."""
    unit: str
    ours: tuple[float, ...]
    baseline: tuple[float, ...]
    aim: Aim | None = None
    details: Mapping[str, float] = field(default_factory=dict)
    """Further figures of the same measurement, by name with unit."""

    def __post_init__(self) -> None:
        if not self.ours or len(self.ours) != len(self.baseline):
            raise ValueError(
                f"{self.benchmark}: {len(self.ours)} measurements against {len(self.baseline)}; they must come in pairs"
            )

    @property
    def ratios(self) -> list[float]:
        return [ours / baseline for ours, baseline in zip(self.ours, self.baseline, strict=True)]

    @property
    def ratio(self) -> float:
        """Median over the pairs: a machine that slows down and recovers changes both sides of a pair."""
        return median(self.ratios)

    @property
    def spread(self) -> tuple[float, float]:
        """Smallest and largest ratio of a pair."""
        return min(self.ratios), max(self.ratios)

    @property
    def verdict(self) -> str:
        if self.aim is None:
            return "no aim"
        return "met" if self.aim.met(self.ratio) else "missed"

    def record(self) -> dict[str, Any]:
        """Plain data: the measurements and everything derived from them."""
        derived = {
            "ratio": self.ratio,
            "spread": list(self.spread),
            "ours_median": median(self.ours),
            "baseline_median": median(self.baseline),
            "verdict": self.verdict,
        }
        return asdict(self) | derived

    @classmethod
    def restore(cls, record: dict[str, Any]) -> Result:
        """From `record`; derived figures are derived anew."""
        own = {name: record[name] for name in ("benchmark", "size", "measure", "unit", "details")}
        aim = Aim(**record["aim"]) if record["aim"] else None
        return cls(**own, ours=tuple(record["ours"]), baseline=tuple(record["baseline"]), aim=aim)


def interleave(
    ours: Callable[[], float], baseline: Callable[[], float], repeats: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Measure both in turn (ours, baseline, ours, ...), `repeats` times each."""
    pairs = [(ours(), baseline()) for _ in range(repeats)]
    return tuple(first for first, _ in pairs), tuple(second for _, second in pairs)
