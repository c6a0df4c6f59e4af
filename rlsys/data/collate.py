"""From rows to tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rlsys.batch import Batch, pad
from rlsys.data.load import Demonstration


def collate(demonstrations: Sequence[Demonstration], pad_id: int) -> Batch:
    """One row per demonstration, in order."""
    return Batch(
        token_ids_BT=pad([row.token_ids for row in demonstrations], pad_id, torch.long),
        loss_mask_BT=pad([row.loss_mask for row in demonstrations], 0, torch.bool),
        lengths_B=torch.tensor([len(row.token_ids) for row in demonstrations], dtype=torch.long),
    )
