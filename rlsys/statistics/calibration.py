"""Can probabilities be believed: how often what was said with probability p came true."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rlsys.statistics.share import Share

Binning = Literal["width", "mass"]


@dataclass(frozen=True, slots=True)
class Bin:
    """Forecasts of about the same probability."""

    least: float
    most: float
    """Of the probabilities in it."""
    forecast: float
    """Their mean."""
    outcome: Share


@dataclass(frozen=True, slots=True)
class Calibration:
    count: int
    ece: float
    """Expected calibration error in bins of equal width."""
    ece_mass: float
    """The same in bins of equally many forecasts."""
    debiased: float
    """Calibration error without its bias, in bins of equal mass: see `debiased`."""
    brier: float
    """Mean squared difference of probability and outcome."""
    forecast: float
    """Mean probability; above `outcome.value`, it is overconfident on average."""
    outcome: Share
    table: tuple[Bin, ...]
    """The bins of equal mass."""


def calibration(probabilities: Sequence[float], outcomes: Sequence[float], bins: int = 10) -> Calibration:
    """`outcomes`: 1 came true, 0 did not; in between for ties. Raises ValueError for none, numbers outside [0, 1], no
    bins."""
    p_N, y_N = np.asarray(probabilities, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    if not len(p_N) or len(p_N) != len(y_N) or bins < 1:
        raise ValueError(f"{len(p_N)} probabilities of {len(y_N)} outcomes, in {bins} bins")
    if not ((p_N >= 0) & (p_N <= 1) & (y_N >= 0) & (y_N <= 1)).all():
        raise ValueError("calibration needs probabilities and outcomes in [0, 1]")
    mass = binned(probabilities, outcomes, bins, "mass")
    return Calibration(
        len(p_N),
        expected_error(binned(probabilities, outcomes, bins, "width")),
        expected_error(mass),
        debiased(mass),
        float(((p_N - y_N) ** 2).mean()),
        float(p_N.mean()),
        Share(float(y_N.sum()), len(y_N)),
        mass,
    )


def expected_error(bins: Sequence[Bin]) -> float:
    """Sum over bins of n_b / n * |mean outcome - mean probability| (Guo et al. 2017, arXiv 1706.04599, equation 3).

    It is biased upwards: noise in a bin's outcome counts as error, the more the fewer forecasts are in it.
    """
    total = sum(one.outcome.of for one in bins)
    return sum(one.outcome.of / total * abs(one.outcome.value - one.forecast) for one in bins)


def debiased(bins: Sequence[Bin]) -> float:
    """Root of the sum over bins of n_b / n * ((y_b - p_b)^2 - y_b (1 - y_b) / (n_b - 1)), or 0 where that is negative:
    the squared error less the noise that the outcomes themselves make (Kumar, Liang & Ma 2019, arXiv 1909.10155,
    section 5; Bröcker 2012). It is in the units of a probability, as a root mean square, so it is not below the mean
    of absolute errors that `expected_error` estimates. Bins of one forecast are left out; nan where all are."""
    usable = [one for one in bins if one.outcome.of > 1]
    total = sum(one.outcome.of for one in usable)
    if not total:
        return math.nan
    squared = sum(
        one.outcome.of
        / total
        * ((one.outcome.value - one.forecast) ** 2 - one.outcome.value * (1 - one.outcome.value) / (one.outcome.of - 1))
        for one in usable
    )
    return math.sqrt(max(squared, 0.0))


def binned(probabilities: Sequence[float], outcomes: Sequence[float], bins: int, by: Binning) -> tuple[Bin, ...]:
    """In order. Of equal width: (0, 0.1], (0.1, 0.2], ..., 0 in the first; of equal mass: equally many forecasts,
    equal ones together where they can be told apart from others. Empty bins are left out."""
    p_N, y_N = np.asarray(probabilities, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    if by == "width":
        place_N = np.clip(np.ceil(p_N * bins) - 1, 0, bins - 1).astype(int)
    else:
        # A forecast's rank is the middle one of those that are equal to it.
        ordered = np.sort(p_N)
        middle_N = (np.searchsorted(ordered, p_N, "left") + np.searchsorted(ordered, p_N, "right") - 1) / 2
        place_N = np.minimum((middle_N * bins / len(p_N)).astype(int), bins - 1)
    return tuple(
        Bin(
            float(p_N[own].min()),
            float(p_N[own].max()),
            float(p_N[own].mean()),
            Share(float(y_N[own].sum()), int(own.sum())),
        )
        for own in (place_N == place for place in range(bins))
        if own.any()
    )
