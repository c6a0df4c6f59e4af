"""What a policy's forward pass gives to a loss."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Outputs:
    """In the padded shape of the rows that the loss is given.

    log_probs_BT[b, t] scores token_ids_BT[b, t]; 0 outside the loss mask. entropy_BT (nats) only if the loss asked for it.
    """

    log_probs_BT: Tensor
    entropy_BT: Tensor | None = None
