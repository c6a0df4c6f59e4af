"""Epochs x mini-batches of `forward_backward` and `optimizer_step`."""

from __future__ import annotations

import torch

from rlsys.batch import stable_seed
from rlsys.objectives.stats import Stats, merge
from rlsys.roles import BatchT, Loss, Policy


def update(policy: Policy, batch: BatchT, loss: Loss[BatchT], epochs: int, mini_batches: int, *seed: object) -> Stats:
    """Train on `batch`, in a new order each epoch that `seed` decides. Statistics are summed over all mini-batches.

    A batch with fewer rows than `mini_batches` makes as many one-row mini-batches as it has rows.
    """
    parts: list[Stats] = []
    for epoch in range(epochs):
        for rows in split(len(batch), mini_batches, *seed, epoch):
            parts.append(policy.forward_backward(batch if mini_batches == 1 else batch.rows(rows), loss))
            parts.append(policy.optimizer_step())
    return merge(parts)


def split(rows: int, mini_batches: int, *seed: object) -> list[torch.Tensor]:
    """Row indices of each mini-batch: sizes differ by at most one, every row is in exactly one."""
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(stable_seed(*seed)))
    return list(torch.tensor_split(order, min(mini_batches, rows))) if rows else []
