"""How likely a policy finds given answers."""

from __future__ import annotations

from collections.abc import Sequence

from rlsys.data.collate import collate
from rlsys.data.load import Demonstration
from rlsys.roles import Policy


def likelihood(
    policy: Policy, rows: Sequence[Demonstration], pad_id: int, size: int, temperature: float
) -> tuple[float, int]:
    """The log-probs of all trained tokens of the rows, summed, and their number. `size` rows go through the model at
    once."""
    total, tokens = 0.0, 0
    for start in range(0, len(rows), size):
        batch = collate(rows[start : start + size], pad_id)
        total += float(policy.log_probs(batch, temperature).double().sum())
        tokens += int(batch.loss_mask_BT.sum())
    return total, tokens
