"""How much better than its baseline a sample, or a token, was. No result carries a gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

STD_EPSILON = 1e-4
VARIANCE_EPSILON = 1e-8


def group_relative(rewards_B: Tensor, group_index_B: Tensor, scale_by_std: bool = True) -> Tensor:
    """(reward - mean) / (std + 1e-4) over the samples that share a group; std is unbiased (ddof 1). float32 [B].

    GRPO (Shao et al. 2024, arXiv 2402.03300); without the division Dr. GRPO (Liu et al. 2025, arXiv 2503.20783). Any
    integers may name the groups, in any order. Equal rewards give exactly 0. ValueError for a group of one, which has
    nothing to be relative to.
    """
    centered_B, group_B, sizes = _centered(rewards_B, group_index_B)
    if not scale_by_std:
        return centered_B.float()
    squares = torch.zeros_like(sizes, dtype=torch.float64).index_add(0, group_B, centered_B.square())
    return (centered_B / ((squares / (sizes - 1)).sqrt()[group_B] + STD_EPSILON)).float()


def leave_one_out(rewards_B: Tensor, group_index_B: Tensor) -> Tensor:
    """Reward minus the mean reward of the *other* samples of its group. float32 [B].

    RLOO (Ahmadian et al. 2024, arXiv 2402.14740). Groups are named as for `group_relative`; ValueError for a group of
    one.
    """
    centered_B, group_B, sizes = _centered(rewards_B, group_index_B)
    # r - (sum - r) / (n - 1) = (r - mean) n / (n - 1)
    return (centered_B * (sizes / (sizes - 1).double())[group_B]).float()


def _centered(rewards_B: Tensor, group_index_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rewards minus their group's mean (float64 [B]); the number of each sample's group; the size of each group.
    ValueError for a group of one."""
    names, group_B, sizes = torch.unique(group_index_B, return_inverse=True, return_counts=True)
    if (sizes < 2).any():
        raise ValueError(
            f"group {names[sizes < 2][0].item()} has a single scored sample: leave the group out or draw more samples"
        )
    # Sums of float32 numbers are exact in float64, so that the mean of equal rewards is that very reward.
    rewards_B = rewards_B.detach().float().double()
    sums = torch.zeros_like(sizes, dtype=torch.float64).index_add(0, group_B, rewards_B)
    return rewards_B - (sums / sizes)[group_B], group_B, sizes


def gae(rewards_BT: Tensor, values_BT: Tensor, mask_BT: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Generalised advantages and returns (Schulman et al. 2016, arXiv 1506.02438, equation 16), float32 [B, T], 0
    outside the mask.

        delta_t = r_t + gamma V_next - V_t        A_t = delta_t + gamma lam A_next        R_t = A_t + V_t

    values_BT[b, t] is the value of the state before token t. `next` is the next *trained* token of the row: tokens
    outside the mask (a tool's answer between two turns) are stepped over, and what stands there is not looked at. After
    the last one V and A are 0. ValueError unless gamma and lam are in [0, 1].
    """
    if not (0 <= gamma <= 1 and 0 <= lam <= 1):
        raise ValueError(f"gamma and lam must be in [0, 1], not {gamma} and {lam}")
    rewards_BT, values_BT = rewards_BT.detach().double(), values_BT.detach().double()
    advantages_BT = torch.zeros_like(rewards_BT)
    advantage_B, value_B = torch.zeros_like(rewards_BT[:, 0]), torch.zeros_like(rewards_BT[:, 0])
    for t in reversed(range(rewards_BT.shape[1])):
        trained_B = mask_BT[:, t]
        delta_B = rewards_BT[:, t] + gamma * value_B - values_BT[:, t]
        advantage_B = torch.where(trained_B, delta_B + gamma * lam * advantage_B, advantage_B)
        value_B = torch.where(trained_B, values_BT[:, t], value_B)
        advantages_BT[:, t] = torch.where(trained_B, advantage_B, 0)
    return advantages_BT.float(), torch.where(mask_BT, advantages_BT + values_BT, 0).float()


def packed_gae(
    rewards_N: Tensor, values_N: Tensor, mask_N: Tensor, lengths_B: Tensor, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """`gae` of rows that lie one after the other without padding: row b is the next `lengths_B[b]` elements. float32
    [N]."""
    lengths = lengths_B.tolist()

    def padded(values_N: Tensor) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence(list(values_N.split(lengths)), batch_first=True)

    advantages_BT, returns_BT = gae(padded(rewards_N), padded(values_N), padded(mask_N), gamma, lam)
    real_BT = padded(torch.ones_like(mask_N))
    return advantages_BT[real_BT], returns_BT[real_BT]


def returns_to_go(rewards_BT: Tensor, mask_BT: Tensor, gamma: float = 1.0) -> Tensor:
    """Discounted sum of the rewards of the trained tokens from t on, float32 [B, T], 0 outside the mask.

    Tokens outside the mask are stepped over, also for the discount. ValueError unless gamma is in [0, 1].
    """
    # Without a critic and with lam = 1 the generalised advantage is the return itself.
    return gae(rewards_BT, torch.zeros_like(rewards_BT), mask_BT, gamma, lam=1.0)[0]


def whiten(values: Tensor, mask: Tensor, shift_mean: bool = True) -> Tensor:
    """(value - mean) / sqrt(variance + 1e-8) over all masked elements, variance unbiased (ddof 1). float32, 0 outside
    the mask, any shape.

    With `shift_mean` false the mean is added again, so that only the scale changes. A single element has no variance:
    it gives 0 (itself, with `shift_mean` false).
    """
    chosen = values.detach()[mask].double()
    mean = chosen.mean()
    variance = chosen.var() if chosen.numel() > 1 else torch.zeros_like(mean)
    whitened = (chosen - mean) / (variance + VARIANCE_EPSILON).sqrt() + (0 if shift_mean else mean)
    return torch.zeros_like(values, dtype=torch.float32).masked_scatter(mask, whitened.float())


def explained_variance(values_BT: Tensor, returns_BT: Tensor, mask_BT: Tensor) -> float:
    """1 - Var(returns - values) / Var(returns) over the masked tokens: 1 is a perfect critic, 0 one no better than a
    constant.

    nan when the returns don't vary, or when there are none.
    """
    returns, values = returns_BT.detach()[mask_BT].double(), values_BT.detach()[mask_BT].double()
    if not returns.numel() or returns.min() == returns.max():
        return float("nan")
    return 1 - float((returns - values).var(correction=0) / returns.var(correction=0))
