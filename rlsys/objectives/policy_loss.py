"""Policy-gradient losses, composed from independent axes.

axis          choices                                                                                  where baseline
group mean (GRPO, Dr. GRPO), leave-one-out (RLOO), GAE (PPO), batch mean (whitening)     advantages.py, before the loss
surrogate     clipped token ratio (PPO, DAPO), sequence ratio (GSPO), CISPO, SAPO, plain gradient      surrogates.py
reduction     mean over tokens, over sequences, or a constant                                          reduction.py KL
k1, k2 or k3, in the loss (kl_coefficient) or in the reward; fixed or adapted            kl.py off-policy    truncated
or masked, per token or per response (correction)                              off_policy.py

Whatever is done before the loss arrives as batch.advantages_BT: a KL in the reward and whitened advantages (`whiten`)
are already in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from rlsys.objectives.kl import KlEstimator, k3
from rlsys.objectives.off_policy import Correction
from rlsys.objectives.outputs import Outputs
from rlsys.objectives.reduction import Reduction, TokenMean, normalizer
from rlsys.objectives.stats import Mean, Stats, masked_max, masked_mean
from rlsys.objectives.surrogates import ClippedSurrogate, Surrogate

if TYPE_CHECKING:
    from torch import Tensor


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
    """correction x surrogate + kl_coefficient x KL to the reference - entropy_coefficient x entropy, reduced. A
    `roles.Loss`.

    Without `old_log_probs_BT` the current log-probs, detached, are the old ones: every ratio is 1, as in the only step
    on a batch.

    Statistics, beside those of the surrogate and the correction: `loss`, `policy_loss` (the first term), both as
    reduced; and over tokens, in nats: `approx_kl` (old to current policy, k3), `kl` (policy to reference, k3, where
    there is one), `entropy`, and the distance of the trainer's old log-probs from the sampler's, which should be
    numerical noise: `sampler_mismatch` (mean absolute), `sampler_mismatch_max`, `sampler_kl` (sampler to trainer, k3).
    """

    temperature: float
    surrogate: Surrogate = field(default_factory=ClippedSurrogate)
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
                raise ValueError(
                    f"entropy_coefficient is {self.entropy_coefficient} but the outputs have no entropy_BT"
                )
            loss_BT = loss_BT - self.entropy_coefficient * outputs.entropy_BT
        stats["loss"] = self._reduced(loss_BT, mask_BT)

        stats["approx_kl"] = masked_mean(k3(old_BT, log_probs_BT), mask_BT)
        if reference_BT is not None:
            stats["kl"] = masked_mean(k3(log_probs_BT, reference_BT), mask_BT)
        if outputs.entropy_BT is not None:
            stats["entropy"] = masked_mean(outputs.entropy_BT, mask_BT)
        return self.reduction.sum(loss_BT, mask_BT), stats | sampler_mismatch(
            old_BT, batch.sampler_log_probs_BT, mask_BT
        )

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
