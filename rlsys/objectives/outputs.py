"""What a forward pass gives to a loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Outputs:
    """Of a language model, in the padded shape of the rows that the loss is given.

    log_probs_BT[b, t] scores token_ids_BT[b, t]; 0 outside the loss mask. entropy_BT (nats) only if the loss asked for
    it. outcomes_BTO only for a `DistillationBatch`: log-probs of the tokens that its teacher names at each place, and
    last that of any other token.
    """

    log_probs_BT: Tensor
    entropy_BT: Tensor | None = None
    outcomes_BTO: Tensor | None = None


@dataclass(frozen=True, slots=True)
class ValueOutputs:
    """Of a model with a scalar head, in the padded shape of the rows that the loss is given.

    scores_BTK: float32 [B, T, K], what the K heads (1 unless it is an ensemble) make of the hidden state of each token,
    unshifted.
    """

    scores_BTK: Tensor

    @property
    def values_BT(self) -> Tensor:
        """The value of the state *before* token t, mean of the heads, 0 at position 0: in line with log-probs and loss
        mask."""
        values_BT = self.scores_BTK.mean(-1)
        return torch.cat([torch.zeros_like(values_BT[:, :1]), values_BT[:, :-1]], dim=1)

    def last_BK(self, lengths_B: Tensor) -> Tensor:
        """The scores at the last real token of each row, whose lengths are given. [B, K]"""
        return self.scores_BTK[torch.arange(len(lengths_B), device=lengths_B.device), lengths_B - 1]
