"""Advantages by each baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rlsys.batch import ScoredBatch
from rlsys.methods.policy_gradient.settings import Settings
from rlsys.objectives.advantages import gae, group_relative, leave_one_out, returns_to_go, whiten

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Estimate:
    """advantages_BT: float32, 0 outside the mask. returns_BT: what a critic should have said; only with one."""

    advantages_BT: Tensor
    returns_BT: Tensor | None = None


def estimate(
    config: Settings,
    batch: ScoredBatch,
    rewards_BT: Tensor,
    values_BT: Tensor | None = None,
    greedy_B: Tensor | None = None,
) -> Estimate:
    """`rewards_BT`: of every token. `values_BT`: the critic's, for `gae`. `greedy_B`: the score of the greedy answer to
    each row's prompt.

    A sample's whole reward is compared with its baseline, and every token of it gets the difference; `gae` and
    `batch_mean` credit tokens with what came after them.
    """
    mask_BT, returns_BT = batch.loss_mask_BT, None
    total_B = rewards_BT.sum(1)
    match config.baseline:
        case "gae":
            assert values_BT is not None
            advantages_BT, returns_BT = gae(rewards_BT, values_BT, mask_BT, config.gamma, config.gae_lambda)
        case "batch_mean":
            to_go_BT = returns_to_go(rewards_BT, mask_BT, config.gamma)
            advantages_BT = (to_go_BT - to_go_BT[mask_BT].mean()) * mask_BT
        case "greedy":
            assert greedy_B is not None
            advantages_BT = (total_B - greedy_B)[:, None] * mask_BT
        case "leave_one_out":
            advantages_BT = leave_one_out(total_B, batch.group_index_B)[:, None] * mask_BT
        case "group_mean":
            advantages_BT = group_relative(total_B, batch.group_index_B, config.scale == "group_std")[:, None] * mask_BT
    if config.scale == "whiten":
        advantages_BT = whiten(advantages_BT, mask_BT)
    assert torch.isfinite(advantages_BT).all(), "scores are finite, so advantages are"
    return Estimate(advantages_BT, returns_BT)
