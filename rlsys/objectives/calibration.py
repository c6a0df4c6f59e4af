"""Can a model's probabilities be believed, and do two quantities go together?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def expected_calibration_error(probabilities_N: Tensor, correct_N: Tensor, bins: int = 10) -> float:
    """Mean over the predictions of |accuracy - mean probability| of their bin (Guo et al. 2017, arXiv 1706.04599,
    equation 3).

    `probabilities_N` in [0, 1]; `correct_N` says which predictions came true (bool, or in [0, 1]). `bins` equal
    intervals, each with its upper end; empty ones don't count. nan without predictions. ValueError for a number outside
    [0, 1] or no bins.
    """
    if bins < 1:
        raise ValueError(f"calibration needs at least 1 bin, not {bins}")
    probabilities_N, correct_N = probabilities_N.detach().double(), correct_N.detach().double()
    if not ((probabilities_N >= 0) & (probabilities_N <= 1) & (correct_N >= 0) & (correct_N <= 1)).all():
        raise ValueError("calibration needs probabilities and outcomes in [0, 1]")
    if not probabilities_N.numel():
        return float("nan")
    borders = torch.linspace(0, 1, bins + 1, dtype=torch.float64, device=probabilities_N.device)[1:-1]
    gaps = torch.zeros(bins, dtype=torch.float64, device=probabilities_N.device)
    # Per bin n |accuracy - confidence| = |sum of (outcome - probability)|.
    gaps.index_add_(0, torch.bucketize(probabilities_N, borders), correct_N - probabilities_N)
    return float(gaps.abs().sum()) / probabilities_N.numel()


def correlation(x_N: Tensor, y_N: Tensor) -> float:
    """Pearson's correlation; nan when one of the two doesn't vary."""
    x_N, y_N = x_N.detach().double(), y_N.detach().double()
    if not x_N.numel() or x_N.min() == x_N.max() or y_N.min() == y_N.max():
        return float("nan")
    x_N, y_N = x_N - x_N.mean(), y_N - y_N.mean()
    return float((x_N * y_N).sum() / (x_N.square().sum() * y_N.square().sum()).sqrt())
