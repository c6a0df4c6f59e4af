"""From rows to tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rlsys.batch import Batch, ComparisonBatch, pad
from rlsys.data.load import Comparison, Demonstration
from rlsys.samples import Trajectory, stable_seed


def collate(demonstrations: Sequence[Demonstration | Trajectory], pad_id: int) -> Batch:
    """One row per demonstration or sample, in order."""
    return Batch(
        token_ids_BT=pad([row.token_ids for row in demonstrations], pad_id, torch.long),
        loss_mask_BT=pad([row.loss_mask for row in demonstrations], 0, torch.bool),
        lengths_B=torch.tensor([len(row.token_ids) for row in demonstrations], dtype=torch.long),
    )


def collate_comparisons(comparisons: Sequence[Comparison], pad_id: int) -> ComparisonBatch:
    """One row per answer, a comparison's answers side by side: they are one unit, numbered by its place in the
    batch."""
    rows = [
        (unit, comparison, place)
        for unit, comparison in enumerate(comparisons)
        for place in range(len(comparison.answers))
    ]
    batch = collate([comparison.answers[place] for _, comparison, place in rows], pad_id)
    return ComparisonBatch(
        token_ids_BT=batch.token_ids_BT,
        loss_mask_BT=batch.loss_mask_BT,
        lengths_B=batch.lengths_B,
        unit_B=torch.tensor([unit for unit, _, _ in rows], dtype=torch.long),
        grade_B=torch.tensor([comparison.grades[place] for _, comparison, place in rows], dtype=torch.float32),
        preference_B=torch.tensor([comparison.preference for _, comparison, _ in rows], dtype=torch.float32),
        comparison_id_B=torch.tensor([stable_seed(comparison.row_id) for _, comparison, _ in rows], dtype=torch.long),
    )
