"""Epochs x mini-batches of `forward_backward` and `optimizer_step`."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rlsys.batch import Batch
from rlsys.objectives.stats import Stats, merge
from rlsys.roles import BatchT, Loss, Trained
from rlsys.samples import stable_seed


def update(
    model: Trained,
    batch: BatchT,
    loss: Loss[BatchT],
    epochs: int,
    mini_batches: int,
    *seed: object,
    beside: tuple[Batch, Loss[Batch]] | None = None,
    scale: float = 1.0,
) -> Stats:
    """Train on `batch`, in a new order each epoch that `seed` decides. Statistics are summed over all mini-batches.

    Units of the batch (`Batch.units`) stay together, and mini-batches differ by at most one of them; fewer units than
    `mini_batches` make as many mini-batches as there are. The gradient of an equal share of another batch under another
    loss (`beside`) is added in each optimizer step; its statistics begin with `ptx_`. `scale`: as in
    `Trained.optimizer_step`.
    """
    parts: list[Stats] = []
    extra = iter(torch.arange(len(beside[0])).tensor_split(epochs * mini_batches)) if beside else iter(())
    for epoch in range(epochs):
        for rows in split(batch.units(), mini_batches, *seed, epoch):
            parts.append(model.forward_backward(batch if mini_batches == 1 else batch.rows(rows), loss))
            if beside is not None:
                stats = model.forward_backward(beside[0].rows(next(extra)), beside[1])
                parts.append({f"ptx_{name}": stat for name, stat in stats.items()})
            parts.append(model.optimizer_step(scale))
    return merge(parts)


def split(units: Sequence[Sequence[int]], mini_batches: int, *seed: object) -> list[torch.Tensor]:
    """Row indices of each mini-batch: every unit is in exactly one as a whole, and the numbers of units differ by at
    most one."""
    if not units:
        return []
    order = torch.randperm(len(units), generator=torch.Generator().manual_seed(stable_seed(*seed)))
    shares = torch.tensor_split(order, min(mini_batches, len(units)))
    return [torch.tensor([row for unit in share.tolist() for row in units[unit]], dtype=torch.long) for share in shares]
