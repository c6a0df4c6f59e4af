"""Surrogates: losses per token whose gradient is a policy gradient, with different ways to bound the step.

With ratio r = policy / old policy and advantage A. All have the gradient -A (by the token's log-prob) where r is 1.

    ClippedSurrogate       -min(r A, clip(r) A)              PPO; clip-higher: DAPO
    SequenceSurrogate      the same, r over the response     GSPO
    CispoSurrogate         -stop(clip(r)) A log p            CISPO: no token loses its gradient
    SapoSurrogate          -sigmoid(tau (r - 1)) 4 / tau A   SAPO: the bound is soft
    PlainPolicyGradient    -A log p                          REINFORCE

All report `ratio`, `ratio_max` and `ratio_variance` over the trained tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from rlsys.objectives.stats import Stats, masked_max, masked_mean, masked_variance

if TYPE_CHECKING:
    from torch import Tensor


class Surrogate(Protocol):
    """Loss per token whose gradient is the policy gradient, and statistics about it."""

    def __call__(
        self, log_probs_BT: Tensor, old_log_probs_BT: Tensor, advantages_BT: Tensor, mask_BT: Tensor
    ) -> tuple[Tensor, Stats]: ...


def clipped_surrogate(
    ratio: Tensor, advantages: Tensor, clip_low: float, clip_high: float, dual_clip: float | None = None
) -> Tensor:
    """-min(ratio x A, clip(ratio, 1 - clip_low, 1 + clip_high) x A), any shape (PPO, Schulman et al. 2017, arXiv
    1707.06347, equation 7).

    Separate bounds: DAPO's clip-higher (arXiv 2503.14476). With `dual_clip` c, where A < 0, the objective is at least c
    x A, which stops the gradient of bad tokens that became more than c times as likely (Ye et al. 2020, arXiv
    1912.09729).
    """
    loss = torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1 - clip_low, 1 + clip_high))
    if dual_clip is None:
        return loss
    return torch.where(advantages < 0, torch.minimum(loss, -advantages * dual_clip), loss)


@dataclass(frozen=True, slots=True)
class ClippedSurrogate:
    """`clipped_surrogate` on token ratios policy / old policy.

    Statistics beside the ratio's: `clip_fraction_low`, `clip_fraction_high`, `clip_fraction_dual`: tokens whose
    gradient a bound stops. ValueError unless 0 <= clip_low < 1, clip_high >= 0, dual_clip > 1.
    """

    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = None

    def __post_init__(self) -> None:
        _check_clips(self.clip_low, self.clip_high)
        if self.dual_clip is not None and self.dual_clip <= 1:
            raise ValueError(f"dual_clip must be above 1, not {self.dual_clip}")

    def __call__(
        self, log_probs_BT: Tensor, old_log_probs_BT: Tensor, advantages_BT: Tensor, mask_BT: Tensor
    ) -> tuple[Tensor, Stats]:
        ratio_BT = (log_probs_BT - old_log_probs_BT).exp()
        stats = _ratio_stats(ratio_BT, mask_BT) | _clip_fractions(
            ratio_BT, advantages_BT, mask_BT, self.clip_low, self.clip_high
        )
        if self.dual_clip is not None:
            stats["clip_fraction_dual"] = masked_mean((advantages_BT < 0) & (ratio_BT > self.dual_clip), mask_BT)
        return clipped_surrogate(ratio_BT, advantages_BT, self.clip_low, self.clip_high, self.dual_clip), stats


@dataclass(frozen=True, slots=True)
class SequenceSurrogate:
    """`clipped_surrogate` on the geometric mean of each response's token ratios (GSPO, Zheng et al. 2025, arXiv
    2507.18071, equations 5 to 7).

    Each token's loss takes its own advantage and its response's ratio; with one advantage per response and the
    `sequence_mean` reduction this is the paper's objective. Statistics as of `ClippedSurrogate`, each token counted
    with its response's ratio. ValueError as there.
    """

    clip_low: float = 3e-4
    clip_high: float = 4e-4

    def __post_init__(self) -> None:
        _check_clips(self.clip_low, self.clip_high)

    def __call__(
        self, log_probs_BT: Tensor, old_log_probs_BT: Tensor, advantages_BT: Tensor, mask_BT: Tensor
    ) -> tuple[Tensor, Stats]:
        log_ratio_BT = torch.where(mask_BT, log_probs_BT - old_log_probs_BT, 0)
        ratio_BT = (log_ratio_BT.sum(1) / mask_BT.sum(1).clamp(min=1)).exp()[:, None].expand_as(mask_BT)
        stats = _ratio_stats(ratio_BT, mask_BT) | _clip_fractions(
            ratio_BT, advantages_BT, mask_BT, self.clip_low, self.clip_high
        )
        return clipped_surrogate(ratio_BT, advantages_BT, self.clip_low, self.clip_high), stats


@dataclass(frozen=True, slots=True)
class CispoSurrogate:
    """The policy gradient weighted by clip(ratio, 1 - clip_low, 1 + clip_high), which carries no gradient itself.

    CISPO (MiniMax-M1, 2025, arXiv 2506.13585, equations 4 and 5). As there, clip_low = 1 leaves the weight without a
    lower bound. The paper tunes clip_high but gives no number for it; the default, which caps the weight at 5, is ours.

    Statistics beside the ratio's: `clip_fraction_low`, `clip_fraction_high`: tokens whose weight is at a bound,
    whatever their advantage. ValueError unless 0 <= clip_low <= 1, clip_high >= 0.
    """

    clip_low: float = 1.0
    clip_high: float = 4.0

    def __post_init__(self) -> None:
        if not (0 <= self.clip_low <= 1 and self.clip_high >= 0):
            raise ValueError(
                f"CISPO's clip_low must be in [0, 1] and clip_high at least 0, not {self.clip_low} and {self.clip_high}"
            )

    def __call__(
        self, log_probs_BT: Tensor, old_log_probs_BT: Tensor, advantages_BT: Tensor, mask_BT: Tensor
    ) -> tuple[Tensor, Stats]:
        ratio_BT = (log_probs_BT - old_log_probs_BT).detach().exp()
        stats = _ratio_stats(ratio_BT, mask_BT) | {
            "clip_fraction_low": masked_mean(ratio_BT < 1 - self.clip_low, mask_BT),
            "clip_fraction_high": masked_mean(ratio_BT > 1 + self.clip_high, mask_BT),
        }
        return -ratio_BT.clamp(1 - self.clip_low, 1 + self.clip_high) * advantages_BT * log_probs_BT, stats


@dataclass(frozen=True, slots=True)
class SapoSurrogate:
    """-f(ratio) x A with f(r) = sigmoid(tau (r - 1)) x 4 / tau; tau is `tau_positive` where A > 0, else `tau_negative`.

    SAPO (Gao et al. 2025, arXiv 2511.20347). Instead of a clip the gradient fades on both sides of ratio 1 by the gate
    4 p (1 - p), p = sigmoid(tau (r - 1)), which is 1 there; a larger tau fades faster. ValueError unless both are
    positive.

    Statistics beside the ratio's: `gate` (mean: the share of the gradient that is let through; nothing is ever
    clipped).
    """

    tau_positive: float = 1.0
    tau_negative: float = 1.05

    def __post_init__(self) -> None:
        if not (self.tau_positive > 0 and self.tau_negative > 0):
            raise ValueError(
                f"SAPO's tau_positive and tau_negative must be above 0, not {self.tau_positive} and {self.tau_negative}"
            )

    def __call__(
        self, log_probs_BT: Tensor, old_log_probs_BT: Tensor, advantages_BT: Tensor, mask_BT: Tensor
    ) -> tuple[Tensor, Stats]:
        ratio_BT = (log_probs_BT - old_log_probs_BT).exp()
        tau_BT = torch.where(advantages_BT > 0, ratio_BT.new_tensor(self.tau_positive), self.tau_negative)
        p_BT = (tau_BT * (ratio_BT - 1)).sigmoid()
        stats = _ratio_stats(ratio_BT, mask_BT) | {"gate": masked_mean(4 * p_BT * (1 - p_BT), mask_BT)}
        return -(4 / tau_BT) * p_BT * advantages_BT, stats


@dataclass(frozen=True, slots=True)
class PlainPolicyGradient:
    """-A x log p: REINFORCE (Williams 1992), without a bound on the step: meant for one optimizer step per batch."""

    def __call__(
        self, log_probs_BT: Tensor, old_log_probs_BT: Tensor, advantages_BT: Tensor, mask_BT: Tensor
    ) -> tuple[Tensor, Stats]:
        return -advantages_BT * log_probs_BT, _ratio_stats((log_probs_BT - old_log_probs_BT).detach().exp(), mask_BT)


def _check_clips(clip_low: float, clip_high: float) -> None:
    if not (0 <= clip_low < 1 and clip_high >= 0):
        raise ValueError(f"clip_low must be in [0, 1) and clip_high at least 0, not {clip_low} and {clip_high}")


def _ratio_stats(ratio_BT: Tensor, mask_BT: Tensor) -> Stats:
    return {
        "ratio": masked_mean(ratio_BT, mask_BT),
        "ratio_max": masked_max(ratio_BT, mask_BT),
        "ratio_variance": masked_variance(ratio_BT, mask_BT),
    }


def _clip_fractions(
    ratio_BT: Tensor, advantages_BT: Tensor, mask_BT: Tensor, clip_low: float, clip_high: float
) -> Stats:
    """Tokens whose gradient a bound stops: bad ones that became unlikely enough, good ones that became likely
    enough."""
    return {
        "clip_fraction_low": masked_mean((advantages_BT < 0) & (ratio_BT < 1 - clip_low), mask_BT),
        "clip_fraction_high": masked_mean((advantages_BT > 0) & (ratio_BT > 1 + clip_high), mask_BT),
    }
