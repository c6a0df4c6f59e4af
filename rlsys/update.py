"""Epochs x mini-batches of `forward_backward` and `optimizer_step`."""

from __future__ import annotations

import torch

from rlsys.batch import Batch, stable_seed
from rlsys.objectives.stats import Stats, merge
from rlsys.roles import BatchT, Loss, Trained


def update(
    model: Trained,
    batch: BatchT,
    loss: Loss[BatchT],
    epochs: int,
    mini_batches: int,
    *seed: object,
    beside: tuple[Batch, Loss[Batch]] | None = None,
) -> Stats:
    """Train on `batch`, in a new order each epoch that `seed` decides. Statistics are summed over all mini-batches.

    A batch with fewer rows than `mini_batches` makes as many one-row mini-batches as it has rows. The gradient of an equal share of another batch
    under another loss (`beside`) is added in each optimizer step; its statistics begin with `ptx_`.
    """
    parts: list[Stats] = []
    extra = iter(torch.arange(len(beside[0])).tensor_split(epochs * mini_batches)) if beside else iter(())
    for epoch in range(epochs):
        for rows in split(len(batch), mini_batches, *seed, epoch):
            parts.append(model.forward_backward(batch if mini_batches == 1 else batch.rows(rows), loss))
            if beside is not None:
                stats = model.forward_backward(beside[0].rows(next(extra)), beside[1])
                parts.append({f"ptx_{name}": stat for name, stat in stats.items()})
            parts.append(model.optimizer_step())
    return merge(parts)


def split(rows: int, mini_batches: int, *seed: object) -> list[torch.Tensor]:
    """Row indices of each mini-batch: sizes differ by at most one, every row is in exactly one."""
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(stable_seed(*seed)))
    return list(torch.tensor_split(order, min(mini_batches, rows))) if rows else []
