"""Corrections for a sampler that is not quite the policy: other kernels, other precision, older weights.

The surrogate compares the current policy with the trainer's old one; the tokens came from the sampler. Truncated importance sampling weighs
the surrogate by trainer old / sampler, bounded above (Yao et al. 2025, "Your Efficient RL Framework Secretly Brings You Off-Policy RL
Training"; the bound after Espeholt et al. 2018, arXiv 1802.01561). Weights carry no gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from rlsys.objectives.stats import Stats, masked_mean


class Correction(Protocol):
    def __call__(self, old_log_probs_BT: Tensor, sampler_log_probs_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Stats]:
        """Weights that broadcast to [B, T], detached, and statistics `tis_weight` (mean) and `tis_truncated` (fraction at the bound)."""
        ...


def token_ratio(old_log_probs_BT: Tensor, sampler_log_probs_BT: Tensor) -> Tensor:
    """old / sampler of each token. [B, T]"""
    return (old_log_probs_BT - sampler_log_probs_BT).detach().exp()


def sequence_ratio(old_log_probs_BT: Tensor, sampler_log_probs_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """old / sampler of each whole response: the product over its tokens. [B]"""
    return torch.where(mask_BT, old_log_probs_BT - sampler_log_probs_BT, 0).detach().sum(1).exp()


@dataclass(frozen=True, slots=True)
class TokenTruncation:
    """Each token weighs min(old / sampler, cap). Biased, low variance."""

    cap: float = 2.0

    def __call__(self, old_log_probs_BT: Tensor, sampler_log_probs_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Stats]:
        ratio_BT = token_ratio(old_log_probs_BT, sampler_log_probs_BT)
        weights_BT = ratio_BT.clamp(max=self.cap)
        return weights_BT, {"tis_weight": masked_mean(weights_BT, mask_BT), "tis_truncated": masked_mean(ratio_BT > self.cap, mask_BT)}


@dataclass(frozen=True, slots=True)
class SequenceTruncation:
    """Each token weighs min(product of old / sampler over its response, cap). Unbiased below the cap, high variance on long responses."""

    cap: float = 2.0

    def __call__(self, old_log_probs_BT: Tensor, sampler_log_probs_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Stats]:
        ratio_B = sequence_ratio(old_log_probs_BT, sampler_log_probs_BT, mask_BT)
        weights_B, trained_B = ratio_B.clamp(max=self.cap), mask_BT.any(1)
        return weights_B[:, None], {
            "tis_weight": masked_mean(weights_B, trained_B),
            "tis_truncated": masked_mean(ratio_B > self.cap, trained_B),
        }
