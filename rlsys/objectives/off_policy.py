"""Corrections for a sampler that is not quite the policy: other kernels, other precision, older weights.

The surrogate compares the current policy with the trainer's old one; the tokens came from the sampler. With the ratio
trainer old / sampler:

    TokenTruncation       min(ratio, cap) per token
    SequenceTruncation    min(product of the response's ratios, cap)
    TokenMasking          the ratio where it is within bounds, else 0
    SequenceMasking       1 where the geometric mean of the response's ratios is within bounds, else 0

Truncated importance sampling: Yao et al. 2025, "Your Efficient RL Framework Secretly Brings You Off-Policy RL
Training"; the bound after Espeholt et al. 2018, arXiv 1802.01561. What is masked still counts in the reduction's
denominator. Weights carry no gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from rlsys.objectives.stats import Stats, masked_mean

if TYPE_CHECKING:
    from torch import Tensor


class Correction(Protocol):
    def __call__(self, old_log_probs_BT: Tensor, sampler_log_probs_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Stats]:
        """Weights that broadcast to [B, T], detached, and statistics `correction_weight` (mean) and `correction_cut`
        (fraction truncated or masked): over tokens or responses, whichever are weighed."""
        ...


def token_ratio(old_log_probs_BT: Tensor, sampler_log_probs_BT: Tensor) -> Tensor:
    """old / sampler of each token. [B, T]"""
    return (old_log_probs_BT - sampler_log_probs_BT).detach().exp()


def sequence_ratio(old_log_probs_BT: Tensor, sampler_log_probs_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """old / sampler of each whole response: the product over its tokens. [B]"""
    return _log_ratio_sum(old_log_probs_BT, sampler_log_probs_BT, mask_BT).exp()


def mean_ratio(old_log_probs_BT: Tensor, sampler_log_probs_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Geometric mean of old / sampler over each response's tokens, 1 for a row without any. [B]"""
    return (_log_ratio_sum(old_log_probs_BT, sampler_log_probs_BT, mask_BT) / mask_BT.sum(1).clamp(min=1)).exp()


def _log_ratio_sum(old_log_probs_BT: Tensor, sampler_log_probs_BT: Tensor, mask_BT: Tensor) -> Tensor:
    return torch.where(mask_BT, old_log_probs_BT - sampler_log_probs_BT, 0).detach().sum(1)


@dataclass(frozen=True, slots=True)
class TokenTruncation:
    """Each token weighs min(old / sampler, cap). Biased, low variance."""

    cap: float = 2.0

    def __call__(self, old_log_probs_BT: Tensor, sampler_log_probs_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Stats]:
        ratio_BT = token_ratio(old_log_probs_BT, sampler_log_probs_BT)
        weights_BT = ratio_BT.clamp(max=self.cap)
        return weights_BT, _weight_stats(weights_BT, ratio_BT > self.cap, mask_BT)


@dataclass(frozen=True, slots=True)
class SequenceTruncation:
    """Each token weighs min(product of old / sampler over its response, cap). Unbiased below the cap, high variance on
    long responses."""

    cap: float = 2.0

    def __call__(self, old_log_probs_BT: Tensor, sampler_log_probs_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Stats]:
        ratio_B = sequence_ratio(old_log_probs_BT, sampler_log_probs_BT, mask_BT)
        weights_B = ratio_B.clamp(max=self.cap)
        return weights_B[:, None], _weight_stats(weights_B, ratio_B > self.cap, mask_BT.any(1))


@dataclass(frozen=True, slots=True)
class TokenMasking:
    """Each token weighs old / sampler where that lies in [low, high], else 0: IcePop (Ring-1T, 2025, arXiv 2510.18855).

    ValueError unless 0 <= low < high.
    """

    low: float = 0.5
    high: float = 5.0

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high)

    def __call__(self, old_log_probs_BT: Tensor, sampler_log_probs_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Stats]:
        ratio_BT = token_ratio(old_log_probs_BT, sampler_log_probs_BT)
        inside_BT = (ratio_BT >= self.low) & (ratio_BT <= self.high)
        weights_BT = torch.where(inside_BT, ratio_BT, 0)
        return weights_BT, _weight_stats(weights_BT, ~inside_BT, mask_BT)


@dataclass(frozen=True, slots=True)
class SequenceMasking:
    """A response is left out (weight 0, else 1) unless the geometric mean of its old / sampler ratios lies in [low,
    high].

    ValueError unless 0 <= low < high.
    """

    low: float = 0.5
    high: float = 2.0

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high)

    def __call__(self, old_log_probs_BT: Tensor, sampler_log_probs_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Stats]:
        ratio_B = mean_ratio(old_log_probs_BT, sampler_log_probs_BT, mask_BT)
        inside_B = (ratio_B >= self.low) & (ratio_B <= self.high)
        weights_B = inside_B.to(ratio_B)
        return weights_B[:, None], _weight_stats(weights_B, ~inside_B, mask_BT.any(1))


def _check_bounds(low: float, high: float) -> None:
    if not 0 <= low < high:
        raise ValueError(f"the bounds of the ratio must be 0 <= low < high, not {low} and {high}")


def _weight_stats(weights: Tensor, cut: Tensor, trained: Tensor) -> Stats:
    return {"correction_weight": masked_mean(weights, trained), "correction_cut": masked_mean(cut, trained)}
