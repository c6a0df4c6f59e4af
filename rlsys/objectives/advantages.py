"""How much better than its baseline a sample was."""

from __future__ import annotations

import torch
from torch import Tensor

STD_EPSILON = 1e-4


def group_relative(rewards_B: Tensor, group_index_B: Tensor, scale_by_std: bool = True) -> Tensor:
    """(reward - mean) / (std + 1e-4) over the samples that share a group; std is unbiased (ddof 1). float32 [B].

    GRPO (Shao et al. 2024, arXiv 2402.03300); without the division Dr. GRPO (Liu et al. 2025, arXiv 2503.20783). Any integers may name the
    groups, in any order. Equal rewards give exactly 0. ValueError for a group of one, which has nothing to be relative to.
    """
    names, group_B, sizes = torch.unique(group_index_B, return_inverse=True, return_counts=True)
    if (sizes < 2).any():
        raise ValueError(f"group {names[sizes < 2][0].item()} has a single scored sample: leave the group out or draw more samples")

    def group_sum(values_B: Tensor) -> Tensor:
        return torch.zeros_like(sizes, dtype=torch.float64).index_add(0, group_B, values_B)

    # Sums of float32 numbers are exact in float64, so that the mean of equal rewards is that very reward.
    rewards_B = rewards_B.float().double()
    centered_B = rewards_B - (group_sum(rewards_B) / sizes)[group_B]
    if not scale_by_std:
        return centered_B.float()
    std = (group_sum(centered_B.square()) / (sizes - 1)).sqrt()
    return (centered_B / (std[group_B] + STD_EPSILON)).float()
