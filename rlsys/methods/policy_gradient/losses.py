"""The policy's loss from the settings."""

from __future__ import annotations

from rlsys.config.sampling import SamplingConfig
from rlsys.methods.policy_gradient.settings import Settings
from rlsys.objectives.kl import KL_ESTIMATORS
from rlsys.objectives.off_policy import Correction, SequenceMasking, SequenceTruncation, TokenMasking, TokenTruncation
from rlsys.objectives.policy_loss import PolicyGradientLoss
from rlsys.objectives.reduction import make_reduction
from rlsys.objectives.surrogates import (
    CispoSurrogate,
    ClippedSurrogate,
    PlainPolicyGradient,
    SapoSurrogate,
    SequenceSurrogate,
    Surrogate,
)


def policy_loss(config: Settings, sampling: SamplingConfig, kl_coef: float) -> PolicyGradientLoss:
    """`kl_coef`: the current weight of the KL, which is in the loss or else in the rewards already."""
    return PolicyGradientLoss(
        temperature=sampling.temperature,
        surrogate=surrogate(config),
        reduction=make_reduction(config.reduction, sampling.max_tokens),
        kl_coefficient=kl_coef if config.kl_in == "loss" else 0.0,
        kl_estimator=KL_ESTIMATORS[config.kl_estimator],
        entropy_coefficient=config.entropy_coef,
        correction=correction(config),
    )


def surrogate(config: Settings) -> Surrogate:
    match config.surrogate:
        case "token_ratio":
            return ClippedSurrogate(config.clip_low, config.clip_high, config.dual_clip)
        case "sequence_ratio":
            return SequenceSurrogate(config.clip_low, config.clip_high)
        case "cispo":
            return CispoSurrogate(config.clip_low, config.clip_high)
        case "sapo":
            return SapoSurrogate(config.tau_positive, config.tau_negative)
        case "reinforce":
            return PlainPolicyGradient()


def correction(config: Settings) -> Correction | None:
    match config.importance_sampling:
        case "off":
            return None
        case "token":
            return TokenTruncation(config.importance_high)
        case "sequence":
            return SequenceTruncation(config.importance_high)
        case "token_mask":
            return TokenMasking(config.importance_low, config.importance_high)
        case "sequence_mask":
            return SequenceMasking(config.importance_low, config.importance_high)
