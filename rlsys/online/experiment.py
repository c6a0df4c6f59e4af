"""What an A/B experiment shows: the difference at its planned end, bounds for whoever looks before, and whether the
variants got as many units as they should."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np
from scipy import stats

from rlsys.errors import DataError
from rlsys.online.log import Log, Unit
from rlsys.online.sequential import FEWEST, sequence

MISMATCH = 1e-3
"""p below which the shares of the variants are not those that were designed: the usual, strict level, as the check is
made in every experiment (Fabijan et al. 2019, KDD)."""


@dataclass(frozen=True, slots=True)
class Variant:
    name: str
    assigned: int
    units: int
    """With an outcome."""
    mean: float
    deviation: float
    """ddof 1; nan of a single unit."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A variant against the control."""

    variant: Variant
    control: Variant
    difference: float
    interval: tuple[float, float]
    """Welch's, for the end that was planned before the experiment began, and for no other look."""
    p: float
    """Welch's t test, two-sided."""
    at_any_time: tuple[float, float]
    """The confidence sequence after the last unit: holds whenever one looks. nan while there are too few units."""
    crossed: int | None
    """After how many units of both the sequence first left out 0; None: it never has."""

    @property
    def relative(self) -> float:
        return self.difference / self.control.mean if self.control.mean else math.nan


@dataclass(frozen=True, slots=True)
class Analysis:
    variants: tuple[Variant, ...]
    mismatch: float
    """p of the chi-square test that units were assigned by the designed shares."""
    lost: float
    """p of the same test on the units that have an outcome: whether a variant loses more of them."""
    comparisons: tuple[Comparison, ...]
    alpha: float

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def analysed(log: Log, control: str | None, shares: Mapping[str, float] | None, alpha: float = 0.05) -> Analysis:
    """`control`: the variant that others are compared with; None: the first by name. `shares`: as designed; None: equal
    ones. With several variants every one is compared at alpha / (variants - 1), Bonferroni. Raises DataError."""
    names = sorted(log.assigned)
    if len(names) < 2:
        raise DataError(f"there is one variant, {names[0]!r}; an experiment compares two or more")
    if control is not None and control not in names:
        raise DataError(f"no unit is in the control {control!r} (variants: {', '.join(names)})")
    control = names[0] if control is None else control
    shares = dict.fromkeys(names, 1.0) if shares is None else dict(shares)
    if shares.keys() != set(names) or min(shares.values()) <= 0:
        raise DataError(f"shares are of {', '.join(sorted(shares))}, and the variants are {', '.join(names)}")
    own = {name: [one for one in log.units if one.variant == name] for name in names}
    if few := [name for name, units in own.items() if len(units) < 2]:
        raise DataError(f"variant {few[0]!r} has {len(own[few[0]])} units with an outcome; wanted 2 at least")
    variants = {name: _variant(name, log.assigned[name], units) for name, units in own.items()}
    others = [name for name in names if name != control]
    level = alpha / len(others)
    found = [
        _compared(variants[name], variants[control], log.units, shares[name] / (shares[name] + shares[control]), level)
        for name in others
    ]
    with_outcome = {name: one.units for name, one in variants.items()}
    ratios = mismatch(log.assigned, shares), mismatch(with_outcome, shares)
    return Analysis((*variants.values(),), *ratios, (*found,), level)


def mismatch(assigned: Mapping[str, int], shares: Mapping[str, float]) -> float:
    """p of Pearson's chi-square test, sum of (seen - expected)^2 / expected, with one degree of freedom less than
    variants."""
    total, of = sum(assigned.values()), sum(shares.values())
    expected = {name: total * share / of for name, share in shares.items()}
    statistic = sum((assigned[name] - own) ** 2 / own for name, own in expected.items())
    return float(stats.chi2.sf(statistic, len(expected) - 1))


def welch(variant: Variant, control: Variant, alpha: float) -> tuple[tuple[float, float], float]:
    """Welch's interval of variant less control, and p (Welch 1947), degrees of freedom by Welch and Satterthwaite."""
    parts = [one.deviation**2 / one.units for one in (variant, control)]
    error, difference = math.sqrt(sum(parts)), variant.mean - control.mean
    if not error:
        return (difference, difference), float(not difference)
    freedom = sum(parts) ** 2 / sum(p * p / (one.units - 1) for p, one in zip(parts, (variant, control), strict=True))
    half = float(stats.t.ppf(1 - alpha / 2, freedom)) * error
    return (difference - half, difference + half), float(2 * stats.t.sf(abs(difference) / error, freedom))


def _variant(name: str, assigned: int, units: Sequence[Unit]) -> Variant:
    values = [one.outcome for one in units]
    return Variant(name, assigned, len(values), fmean(values), float(np.std(values, ddof=1)))


def _compared(variant: Variant, control: Variant, units: Sequence[Unit], share: float, alpha: float) -> Comparison:
    both = [one for one in units if one.variant in (variant.name, control.name)]
    bounds = sequence([one.outcome for one in both], [one.variant == variant.name for one in both], share, alpha)
    outside = np.flatnonzero((bounds[:, 1] > 0) | (bounds[:, 2] < 0))
    interval, p = welch(variant, control, alpha)
    low, high = (float(bounds[-1, side]) for side in (1, 2))
    crossed = int(outside[0]) + 1 if len(outside) else None
    return Comparison(variant, control, variant.mean - control.mean, interval, p, (low, high), crossed)


def lines(found: Analysis, log: Log) -> list[tuple[str, str]]:
    """For people."""
    rows = [("beware", fault) for fault in log.told()]
    for what, p in (("of the units assigned", found.mismatch), ("of those with an outcome", found.lost)):
        if p < MISMATCH:
            told = f"sample-ratio mismatch {what} (chi-square, p = {p:.2g}): believe nothing below before you know why"
            rows.append(("beware", told))
    for one in found.variants:
        rows.append((one.name, f"{one.assigned:,} assigned, {one.units:,} with an outcome, mean {one.mean:.4g}"))
    told = f"p = {found.mismatch:.2g} of the units assigned, {found.lost:.2g} of those with an outcome (chi-square)"
    rows.append(("sample ratio", told))
    sure = 1 - found.alpha
    for one in found.comparisons:
        low, high = one.interval
        rows.append((f"{one.variant.name} less {one.control.name}", f"{one.difference:+.4g} ({one.relative:+.2%})"))
        rows.append(("  at the planned end", f"{sure:.4g}: {low:+.4g} to {high:+.4g} (Welch), p = {one.p:.3g}"))
        rows.append(("  at any time", _at_any_time(one, sure)))
    return rows


def _at_any_time(one: Comparison, sure: float) -> str:
    low, high = one.at_any_time
    if math.isnan(low):
        return f"no bound yet: it wants {FEWEST} units of each variant"
    told = "0 was never outside" if one.crossed is None else f"0 was outside first after {one.crossed:,} units"
    return f"{sure:.4g}: {low:+.4g} to {high:+.4g} (confidence sequence); {told}"
