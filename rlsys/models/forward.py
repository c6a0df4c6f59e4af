"""One forward pass from token ids to log-probs, shared by the trained policy and the reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rlsys.batch import Batch
from rlsys.objectives.log_probs import packed_token_log_probs, token_log_probs
from rlsys.roles import BatchT

Scored = tuple[Tensor, Tensor | None]


class ScoringHead(nn.Module):
    """The output projection and the log-probs that follow it, as one module that owns the projection's weights.

    ZeRO-3 gathers a module's weights when it is called, and once more before its backward pass. Were the projection called chunk by chunk,
    ranks with different numbers of chunks would gather different numbers of times, and wait for each other forever.
    """

    def __init__(self, projection: nn.Module | None) -> None:
        super().__init__()
        assert isinstance(projection, nn.Linear)
        self.weight = projection.weight
        self.bias = projection.bias

    def forward(self, hidden: Tensor, batch: Batch, packed: bool, temperature: float, with_entropy: bool) -> Scored:
        def head(hidden_ND: Tensor) -> Tensor:
            return nn.functional.linear(hidden_ND, self.weight, self.bias)

        tokens, mask = batch.token_ids_BT, batch.loss_mask_BT
        if packed:
            outputs = packed_token_log_probs(hidden[0], batch.lengths_B, tokens, mask, head, temperature, with_entropy=with_entropy)
        else:
            outputs = token_log_probs(hidden, tokens, mask, head, temperature, with_entropy=with_entropy)
        # A tuple, because ZeRO-3 does not find tensors inside dataclasses to hang its hooks on.
        return outputs.log_probs_BT, outputs.entropy_BT


class Scorer(nn.Module):
    """A causal language model that answers with log-probs (and entropies) of the given tokens; full logits never exist.

    `packed`: rows are concatenated into one without padding, their position ids starting over. The attention kernel must keep them apart by
    these: flash attention does at no cost, sdpa by a mask of N x N for N tokens.
    """

    def __init__(self, model: PreTrainedModel, packed: bool) -> None:
        super().__init__()
        self.model = model
        self.head = ScoringHead(model.get_output_embeddings())
        self.packed = packed

    def forward(self, batch: Batch, temperature: float, with_entropy: bool) -> Scored:
        """log_probs_BT and entropy_BT (or None) as in `Outputs`."""
        token_ids, positions = batch.token_ids_BT, None
        if self.packed:
            positions_BT = torch.arange(token_ids.shape[1], device=token_ids.device).expand_as(token_ids)
            real_BT = positions_BT < batch.lengths_B[:, None]
            token_ids, positions = token_ids[real_BT][None], positions_BT[real_BT][None]
        # No attention mask: padding is on the right, where causal attention never looks from a real token.
        hidden = self.model.base_model(input_ids=token_ids, position_ids=positions, use_cache=False).last_hidden_state
        return self.head(hidden, batch, self.packed, temperature, with_entropy)


def micro_batch(batch: BatchT, rows: Sequence[int], device: torch.device) -> BatchT:
    """The rows, on the device. No rows: a short one without trained tokens, so that a rank that has nothing to do still takes part in what
    the ranks do together."""
    if rows:
        return batch.rows(rows).to(device)
    idle = batch.rows([int(batch.lengths_B.argmin())])
    return replace(idle, loss_mask_BT=torch.zeros_like(idle.loss_mask_BT)).to(device)


@torch.no_grad()
def log_probs(
    forward: Callable[[Batch, float, bool], Scored],
    batch: Batch,
    micro_batches: Sequence[Sequence[int]],
    temperature: float,
    device: torch.device,
) -> Tensor:
    """float32 [rows, T] on the CPU at the batch's width, rows in the order in which the micro-batches name them; 0 outside the loss mask."""
    width = batch.token_ids_BT.shape[1]
    parts = [torch.zeros(0, width)]
    for rows in micro_batches:
        log_probs_BT, _ = forward(micro_batch(batch, rows, device), temperature, False)
        if rows:
            parts.append(nn.functional.pad(log_probs_BT.cpu(), (0, width - log_probs_BT.shape[1])))
    return torch.cat(parts)
