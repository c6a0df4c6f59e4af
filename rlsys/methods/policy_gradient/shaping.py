"""From a sample's score to rewards per token."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from rlsys.batch import ScoredBatch
from rlsys.methods.policy_gradient.settings import Settings
from rlsys.methods.shared.sampling import scored_samples
from rlsys.objectives.advantages import whiten
from rlsys.objectives.kl import KL_ESTIMATORS, adapted
from rlsys.samples import ScoredGroup, Trajectory

if TYPE_CHECKING:
    from torch import Tensor

COUNT, MEAN, SQUARES = "reward_count", "reward_mean", "reward_squares"
KL_COEF = "kl_coef"
"""Names in `Step.memory`."""


def shaped_scores(
    config: Settings, rewards_B: Tensor, groups: Sequence[ScoredGroup], memory: dict[str, float]
) -> Tensor:
    """Scores normalised, clipped, and lowered where the end-of-sequence token is missing, in this order. float32 [B].

    `running` statistics include this step, and are kept in `memory`.
    """
    scores_B = rewards_B
    if config.normalize_rewards == "batch":
        scores_B = whiten(scores_B, torch.ones_like(scores_B, dtype=torch.bool))
    elif config.normalize_rewards == "running":
        scores_B = _by_running_statistics(scores_B, memory)
    return ended(config, scores_B, scored_samples(groups))


def ended(config: Settings, scores_B: Tensor, samples: Sequence[Trajectory]) -> Tensor:
    """The part of the shaping that looks at one sample alone: its score clipped, and lowered where the end-of-sequence
    token is missing."""
    if config.reward_clip is not None:
        scores_B = scores_B.clamp(-config.reward_clip, config.reward_clip)
    missing_B = torch.tensor([sample.finish_reason != "stop" for sample in samples], dtype=torch.bool)
    if config.missing_eos_score is not None:
        scores_B = torch.where(missing_B, config.missing_eos_score, scores_B)
    return scores_B - config.missing_eos_penalty * missing_B


def _by_running_statistics(scores_B: Tensor, memory: dict[str, float]) -> Tensor:
    """(score - mean) / standard deviation (ddof 1) over the run so far; Chan's update of mean and sum of squares."""
    count, mean, squares = memory.get(COUNT, 0.0), memory.get(MEAN, 0.0), memory.get(SQUARES, 0.0)
    own_count, own_mean = float(len(scores_B)), float(scores_B.double().mean())
    total, gap = count + own_count, own_mean - mean
    squares += float((scores_B.double() - own_mean).square().sum()) + gap**2 * count * own_count / total
    mean += gap * own_count / total
    memory |= {COUNT: total, MEAN: mean, SQUARES: squares}
    std = math.sqrt(squares / (total - 1)) if total > 1 else 0.0
    return (scores_B - mean) / (std + 1e-8)


def token_rewards(
    config: Settings, batch: ScoredBatch, scores_B: Tensor, kl_BT: Tensor | None, kl_coef: float
) -> Tensor:
    """The score on the last trained token, and with the KL in the reward its penalty on every token. float32 [B, T], 0
    outside the mask."""
    positions_T = torch.arange(batch.loss_mask_BT.shape[1])
    last_B = (positions_T * batch.loss_mask_BT).argmax(1)
    rewards_BT = torch.zeros(batch.loss_mask_BT.shape).scatter_(1, last_B[:, None], scores_B[:, None])
    if config.kl_in == "reward" and kl_BT is not None:
        rewards_BT = rewards_BT - kl_coef * kl_BT
    return rewards_BT * batch.loss_mask_BT


def token_kl(config: Settings, log_probs_BT: Tensor, reference_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """The estimate for every trained token, nats."""
    return KL_ESTIMATORS[config.kl_estimator](log_probs_BT, reference_BT) * mask_BT


def current_kl_coef(config: Settings, memory: Mapping[str, float]) -> float:
    return memory.get(KL_COEF, config.kl_coef)


def response_kl(log_probs_BT: Tensor, reference_BT: Tensor) -> float:
    """KL per response: k1 summed over its tokens, averaged over responses, nats."""
    return float((log_probs_BT - reference_BT).sum(1).mean())


def adapt_kl_coef(
    config: Settings, coefficient: float, measured: float, samples: int, memory: dict[str, float]
) -> None:
    """Steer the next step's coefficient by this step's KL per response."""
    if config.kl_target is not None:
        memory[KL_COEF] = adapted(coefficient, measured, config.kl_target, config.kl_horizon, samples)
