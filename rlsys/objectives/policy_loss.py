"""Policy-gradient losses, composed from independent axes.

axis          here                                       elsewhere
surrogate     ClippedSurrogate                           anything of the type `Surrogate` (sequence ratios, clipped weights, ...)
reduction                                                reduction.py
baseline                                                 advantages.py, before the loss: it arrives as batch.advantages_BT
KL            kl_coefficient, kl_estimator: in the loss   kl.py; a KL in the reward is already in the advantages
off-policy    correction                                 off_policy.py
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from rlsys.objectives.kl import KlEstimator, k3
from rlsys.objectives.off_policy import Correction
from rlsys.objectives.outputs import Outputs
from rlsys.objectives.reduction import Reduction, TokenMean, normalizer
from rlsys.objectives.stats import Mean, Stats, masked_max, masked_mean


class Surrogate(Protocol):
    """Loss per token whose gradient is the policy gradient, and statistics about it."""

    def __call__(self, log_probs_BT: Tensor, old_log_probs_BT: Tensor, advantages_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Stats]: ...


def clipped_surrogate(ratio: Tensor, advantages: Tensor, clip_low: float, clip_high: float, dual_clip: float | None = None) -> Tensor:
    """-min(ratio x A, clip(ratio, 1 - clip_low, 1 + clip_high) x A), any shape (PPO, Schulman et al. 2017, arXiv 1707.06347, equation 7).

    Separate bounds: DAPO's clip-higher (arXiv 2503.14476). With `dual_clip` c, where A < 0, the objective is at least c x A, which stops
    the gradient of bad tokens that became more than c times as likely (Ye et al. 2020, arXiv 1912.09729).
    """
    loss = torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1 - clip_low, 1 + clip_high))
    if dual_clip is None:
        return loss
    return torch.where(advantages < 0, torch.minimum(loss, -advantages * dual_clip), loss)


@dataclass(frozen=True, slots=True)
class ClippedSurrogate:
    """`clipped_surrogate` on token ratios policy / old policy.

    Statistics: `ratio`, `ratio_max`; `clip_fraction_low`, `clip_fraction_high`, `clip_fraction_dual`: tokens whose gradient a bound stops.
    ValueError unless 0 <= clip_low < 1, clip_high >= 0, dual_clip > 1.
    """

    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = None

    def __post_init__(self) -> None:
        if not (0 <= self.clip_low < 1 and self.clip_high >= 0):
            raise ValueError(f"clip_low must be in [0, 1) and clip_high at least 0, not {self.clip_low} and {self.clip_high}")
        if self.dual_clip is not None and self.dual_clip <= 1:
            raise ValueError(f"dual_clip must be above 1, not {self.dual_clip}")

    def __call__(self, log_probs_BT: Tensor, old_log_probs_BT: Tensor, advantages_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Stats]:
        ratio_BT = (log_probs_BT - old_log_probs_BT).exp()
        good_BT, bad_BT = advantages_BT > 0, advantages_BT < 0
        stats: Stats = {
            "ratio": masked_mean(ratio_BT, mask_BT),
            "ratio_max": masked_max(ratio_BT, mask_BT),
            "clip_fraction_low": masked_mean(bad_BT & (ratio_BT < 1 - self.clip_low), mask_BT),
            "clip_fraction_high": masked_mean(good_BT & (ratio_BT > 1 + self.clip_high), mask_BT),
        }
        if self.dual_clip is not None:
            stats["clip_fraction_dual"] = masked_mean(bad_BT & (ratio_BT > self.dual_clip), mask_BT)
        return clipped_surrogate(ratio_BT, advantages_BT, self.clip_low, self.clip_high, self.dual_clip), stats


class PolicyTensors(Protocol):
    """What the loss reads of a batch (`rlsys.batch.PolicyBatch` has it)."""

    @property
    def loss_mask_BT(self) -> Tensor: ...
    @property
    def advantages_BT(self) -> Tensor: ...
    @property
    def sampler_log_probs_BT(self) -> Tensor: ...
    @property
    def old_log_probs_BT(self) -> Tensor | None: ...
    @property
    def reference_log_probs_BT(self) -> Tensor | None: ...


@dataclass(frozen=True, slots=True)
class PolicyGradientLoss:
    """correction x surrogate + kl_coefficient x KL to the reference - entropy_coefficient x entropy, reduced. A `roles.Loss`.

    Without `old_log_probs_BT` the current log-probs, detached, are the old ones: every ratio is 1, as in the only step on a batch.

    Statistics, beside those of the surrogate and the correction: `loss`, `policy_loss` (the first term), both as reduced; and over tokens,
    in nats: `approx_kl` (old to current policy, k3), `kl` (policy to reference, k3, where there is one), `entropy`, and the distance of the
    trainer's old log-probs from the sampler's, which should be numerical noise: `sampler_mismatch` (mean absolute),
    `sampler_mismatch_max`, `sampler_kl` (sampler to trainer, k3).
    """

    temperature: float
    surrogate: Surrogate = ClippedSurrogate()
    reduction: Reduction = field(default_factory=TokenMean)
    kl_coefficient: float = 0.0
    kl_estimator: KlEstimator = k3
    entropy_coefficient: float = 0.0
    correction: Correction | None = None
    report_entropy: bool = True
    """Measure the entropy even where it is not in the loss."""

    @property
    def needs_entropy(self) -> bool:
        return self.report_entropy or self.entropy_coefficient != 0

    def normalizer(self, batch: PolicyTensors) -> float:
        return normalizer(self.reduction, batch.loss_mask_BT)

    def __call__(self, outputs: Outputs, batch: PolicyTensors) -> tuple[Tensor, Stats]:
        """ValueError if a term of the loss lacks its input: reference log-probs or entropies."""
        mask_BT, log_probs_BT, reference_BT = batch.loss_mask_BT, outputs.log_probs_BT, batch.reference_log_probs_BT
        old_BT = log_probs_BT.detach() if batch.old_log_probs_BT is None else batch.old_log_probs_BT

        loss_BT, stats = self.surrogate(log_probs_BT, old_BT, batch.advantages_BT, mask_BT)
        if self.correction is not None:
            weights_BT, correction_stats = self.correction(old_BT, batch.sampler_log_probs_BT, mask_BT)
            loss_BT, stats = loss_BT * weights_BT, stats | correction_stats
        stats["policy_loss"] = self._reduced(loss_BT, mask_BT)

        if self.kl_coefficient:
            if reference_BT is None:
                raise ValueError(f"kl_coefficient is {self.kl_coefficient} but the batch has no reference_log_probs_BT")
            loss_BT = loss_BT + self.kl_coefficient * self.kl_estimator(log_probs_BT, reference_BT)
        if self.entropy_coefficient:
            if outputs.entropy_BT is None:
                raise ValueError(f"entropy_coefficient is {self.entropy_coefficient} but the outputs have no entropy_BT")
            loss_BT = loss_BT - self.entropy_coefficient * outputs.entropy_BT
        stats["loss"] = self._reduced(loss_BT, mask_BT)

        stats["approx_kl"] = masked_mean(k3(old_BT, log_probs_BT), mask_BT)
        if reference_BT is not None:
            stats["kl"] = masked_mean(k3(log_probs_BT, reference_BT), mask_BT)
        if outputs.entropy_BT is not None:
            stats["entropy"] = masked_mean(outputs.entropy_BT, mask_BT)
        return self.reduction.sum(loss_BT, mask_BT), stats | sampler_mismatch(old_BT, batch.sampler_log_probs_BT, mask_BT)

    def _reduced(self, loss_BT: Tensor, mask_BT: Tensor) -> Mean:
        return Mean(float(self.reduction.sum(loss_BT.detach(), mask_BT)), self.reduction.count(mask_BT))


def sampler_mismatch(old_log_probs_BT: Tensor, sampler_log_probs_BT: Tensor, mask_BT: Tensor) -> Stats:
    """How far two engines disagree about the same tokens under the same weights."""
    gap_BT = (old_log_probs_BT - sampler_log_probs_BT).abs()
    return {
        "sampler_mismatch": masked_mean(gap_BT, mask_BT),
        "sampler_mismatch_max": masked_max(gap_BT, mask_BT),
        "sampler_kl": masked_mean(k3(sampler_log_probs_BT, old_log_probs_BT), mask_BT),
    }
