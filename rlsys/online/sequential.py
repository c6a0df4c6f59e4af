"""Bounds that hold at every look: whoever watches an experiment daily, and stops when it looks good, is wrong no more
often than was agreed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

WORTH_WATCHING = 500
"""Units for which the bound is tightest."""
FEWEST = 50
"""Units of a variant below which its variance is not trusted, and no bound is given."""


def optimal_rho(units: float = WORTH_WATCHING, alpha: float = 0.05) -> float:
    """The rho of `half_width` that makes it (nearly) narrowest after so many units, at unit variance:
    rho = sqrt((-2 log alpha + log(-2 log alpha + 1)) / units) (Waudby-Smith et al. 2021, arXiv 2103.06476, appendix
    B.2)."""
    return math.sqrt((-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / units)


def half_width(
    count_N: NDArray[np.float64], deviation_N: NDArray[np.float64], alpha: float, rho: float
) -> NDArray[np.float64]:
    """Half the width of the asymptotic confidence sequence for a mean of so many values with this standard deviation
    (Waudby-Smith et al. 2021, arXiv 2103.06476, theorem 2.2):

        deviation * sqrt(2 (t rho^2 + 1) / (t^2 rho^2) * log(sqrt(t rho^2 + 1) / alpha))

    It is the two-sided normal mixture of Robbins 1970 (Howard et al. 2021, arXiv 1810.08240), that is the mixture SPRT,
    with the estimated deviation in place of a known one: valid at all times together, if the first look is not taken
    too early.
    """
    scaled_N = count_N * rho * rho
    return deviation_N * np.sqrt(2 * (scaled_N + 1) / (count_N * scaled_N) * np.log(np.sqrt(scaled_N + 1) / alpha))


def sequence(
    values: Sequence[float], treated: Sequence[bool], share: float, alpha: float = 0.05, rho: float | None = None
) -> NDArray[np.float64]:
    """The difference of means (treated less control) and its bounds after each unit: [units, 3], difference, low, high;
    nan until both variants have `FEWEST`.

    Units come in the order in which they are seen, each assigned to treatment with probability `share`, as designed.
    Each stands for y a / share - y (1 - a) / (1 - share), y less the mean of all that came before it, whose mean is the
    difference (inverse probability weighting: what is subtracted is known before the unit is assigned, so that it adds
    no bias and takes the level of the outcome out of the variance). Raises ValueError for shares outside (0, 1).
    """
    if not 0 < share < 1 or len(values) != len(treated):
        raise ValueError(f"share is {share}, of {len(values)} values and {len(treated)} assignments")
    y_N, a_N = np.asarray(values, dtype=np.float64), np.asarray(treated, dtype=np.float64)
    rho = optimal_rho(alpha=alpha) if rho is None else rho
    # The first unit is only what the second is held against.
    seen_N = np.maximum(np.arange(len(y_N), dtype=np.float64), 1.0)
    before_N = np.concatenate([y_N[:1], np.cumsum(y_N)[:-1] / np.arange(1, len(y_N))])
    pseudo_N = (y_N - before_N) * (a_N / share - (1 - a_N) / (1 - share))
    mean_N = np.cumsum(pseudo_N) / seen_N
    variance_N = np.maximum(np.cumsum(pseudo_N**2) / seen_N - mean_N**2, 0.0)
    half_N = half_width(seen_N, np.sqrt(variance_N), alpha, rho)
    found = np.stack([mean_N, mean_N - half_N, mean_N + half_N], axis=1)
    found[np.minimum(np.cumsum(a_N), np.cumsum(1 - a_N)) < FEWEST] = math.nan
    return found
