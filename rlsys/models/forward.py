"""One forward pass from token ids to log-probs or to scores, shared by trained and frozen models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rlsys.batch import Batch, DistillationBatch
from rlsys.models.value_model import SCALAR_HEAD
from rlsys.objectives.log_probs import (
    flat_top,
    packed_starts,
    packed_token_log_probs,
    padded_starts,
    predicting,
    token_log_probs,
    unflatten,
)
from rlsys.objectives.outputs import Outputs, ValueOutputs
from rlsys.roles import BatchT

Scored = tuple[Tensor, Tensor | None, Tensor | None]


class ScoringHead(nn.Module):
    """The output projection and the log-probs that follow it, as one module that owns the projection's weights.

    ZeRO-3 gathers a module's weights when it is called, and once more before its backward pass. Were the projection
    called chunk by chunk, ranks with different numbers of chunks would gather different numbers of times, and wait for
    each other forever.
    """

    def __init__(self, projection: nn.Module | None) -> None:
        super().__init__()
        assert isinstance(projection, nn.Linear)
        self.weight = projection.weight
        self.bias = projection.bias

    def forward(self, hidden: Tensor, batch: Batch, packed: bool, temperature: float, with_entropy: bool) -> Scored:
        tokens, mask = batch.token_ids_BT, batch.loss_mask_BT
        asked = {
            "with_entropy": with_entropy,
            "choices_BTK": batch.choices_BTK if isinstance(batch, DistillationBatch) else None,
        }
        if packed:
            outputs = packed_token_log_probs(
                hidden[0], batch.lengths_B, tokens, mask, self.project, temperature, **asked
            )
        else:
            outputs = token_log_probs(hidden, tokens, mask, self.project, temperature, **asked)
        # A tuple, because ZeRO-3 does not find tensors inside dataclasses to hang its hooks on.
        return outputs.log_probs_BT, outputs.entropy_BT, outputs.outcomes_BTO

    def project(self, hidden_ND: Tensor) -> Tensor:
        return nn.functional.linear(hidden_ND, self.weight, self.bias)


class Body(nn.Module):
    """A model without its head. `packed`: rows are concatenated into one without padding, their position ids starting
    over. The attention kernel must keep them apart by these: flash attention does at no cost, sdpa by a mask of N x N
    for N tokens."""

    outputs: type[Outputs] | type[ValueOutputs]

    def __init__(self, model: PreTrainedModel, packed: bool) -> None:
        super().__init__()
        self.model = model
        self.packed = packed

    def hidden(self, batch: Batch) -> Tensor:
        """Last hidden states: [B, T, D], or [1, N, D] of the N real tokens if packed."""
        token_ids, positions = batch.token_ids_BT, None
        if self.packed:
            positions_BT = torch.arange(token_ids.shape[1], device=token_ids.device).expand_as(token_ids)
            real_BT = positions_BT < batch.lengths_B[:, None]
            token_ids, positions = token_ids[real_BT][None], positions_BT[real_BT][None]
        # No attention mask: padding is on the right, where causal attention never looks from a real token.
        return self.model.base_model(input_ids=token_ids, position_ids=positions, use_cache=False).last_hidden_state


class Scorer(Body):
    """A causal language model that answers with log-probs (and entropies) of the given tokens; full logits never
    exist."""

    outputs = Outputs

    def __init__(self, model: PreTrainedModel, packed: bool) -> None:
        super().__init__(model, packed)
        self.head = ScoringHead(model.get_output_embeddings())

    def forward(self, batch: Batch, temperature: float, with_entropy: bool) -> Scored:
        """log_probs_BT, and entropy_BT and outcomes_BTO or None, as in `Outputs`."""
        return self.head(self.hidden(batch), batch, self.packed, temperature, with_entropy)

    @torch.no_grad()
    def top(self, batch: Batch, k: int, vocabulary: int, temperature: float) -> tuple[Tensor, Tensor]:
        """choices_BTK and teacher_log_probs_BTO of a `DistillationBatch`; see `flat_top`. For weights that are all
        here, not spread by ZeRO-3."""
        hidden, mask_BT = self.hidden(batch).flatten(0, 1), batch.loss_mask_BT
        starts_B = packed_starts(batch.lengths_B) if self.packed else padded_starts(mask_BT)
        choices, log_probs = flat_top(
            predicting(hidden, starts_B, mask_BT), self.head.project, k, vocabulary, temperature
        )
        return unflatten(choices, mask_BT), unflatten(log_probs, mask_BT)

    @staticmethod
    def asked(loss: Any) -> tuple[float, bool]:
        """What `forward` needs to know for a `LikelihoodLoss`."""
        return loss.temperature, loss.needs_entropy


class ScalarHead(nn.Module):
    """The scalar head, in float32 whatever the body's precision: bfloat16 tells scores apart by 0.4% only. As a module
    that owns the weights, for the same reason as `ScoringHead`."""

    def __init__(self, projection: nn.Module) -> None:
        super().__init__()
        assert isinstance(projection, nn.Linear)
        self.weight = projection.weight

    def forward(self, hidden: Tensor) -> Tensor:
        return nn.functional.linear(hidden.float(), self.weight.float())


class ValueScorer(Body):
    """A model with a scalar head (`rlsys.models.value_model`) that answers with the scores of every token's hidden
    state."""

    outputs = ValueOutputs

    def __init__(self, model: PreTrainedModel, packed: bool) -> None:
        super().__init__(model, packed)
        self.head = ScalarHead(model.get_submodule(SCALAR_HEAD))

    def forward(self, batch: Batch) -> tuple[Tensor]:
        """scores_BTK as in `ValueOutputs`, 0 on padding; a tuple because of ZeRO-3's hooks."""
        scores = self.head(self.hidden(batch))
        if not self.packed:
            real_BT = torch.arange(scores.shape[1], device=scores.device) < batch.lengths_B[:, None]
            return (scores * real_BT[:, :, None],)
        real_BT = torch.arange(batch.token_ids_BT.shape[1], device=scores.device) < batch.lengths_B[:, None]
        return (scores.new_zeros((*real_BT.shape, scores.shape[-1])).masked_scatter(real_BT[:, :, None], scores[0]),)

    @staticmethod
    def asked(_: object) -> tuple[()]:
        return ()


def micro_batch(batch: BatchT, rows: Sequence[int], device: torch.device) -> BatchT:
    """The rows, on the device. No rows: a short one without trained tokens, so that a rank that has nothing to do still
    takes part in what the ranks do together."""
    if rows:
        return batch.rows(rows).to(device)
    idle = batch.rows([int(batch.lengths_B.argmin())])
    return replace(idle, loss_mask_BT=torch.zeros_like(idle.loss_mask_BT)).to(device)


Forward = Callable[..., tuple[Tensor | None, ...]]


@torch.no_grad()
def log_probs(
    forward: Forward, batch: Batch, micro_batches: Sequence[Sequence[int]], temperature: float, device: torch.device
) -> Tensor:
    """float32 [rows, T] on the CPU at the batch's width, rows in the order in which the micro-batches name them; 0
    outside the loss mask."""
    return _at_width(
        batch, _each(forward, batch, micro_batches, device, lambda outputs, _: outputs[0], temperature, False)
    )


@torch.no_grad()
def values(forward: Forward, batch: Batch, micro_batches: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """The same with the value of the state before each token."""
    return _at_width(
        batch,
        _each(
            forward,
            batch,
            micro_batches,
            device,
            lambda outputs, own: ValueOutputs(*outputs).values_BT * own.loss_mask_BT,
        ),
    )


@torch.no_grad()
def last_scores(
    forward: Forward, batch: Batch, micro_batches: Sequence[Sequence[int]], device: torch.device
) -> Tensor | None:
    """float32 [rows, K] on the CPU: every head's score at each row's last token, rows in the micro-batches' order; None
    for no rows."""
    parts = list(
        _each(forward, batch, micro_batches, device, lambda outputs, own: ValueOutputs(*outputs).last_BK(own.lengths_B))
    )
    return torch.cat(parts) if parts else None


def top(
    scorer: Scorer,
    batch: Batch,
    micro_batches: Sequence[Sequence[int]],
    k: int,
    vocabulary: int,
    temperature: float,
    device: torch.device,
) -> tuple[Tensor, Tensor] | None:
    """`Scorer.top` on the CPU at the batch's width, rows in the micro-batches' order; None for no rows."""
    found = list(
        _each(scorer.top, batch, micro_batches, device, lambda outputs, _: outputs, k, vocabulary, temperature)
    )
    if not found:
        return None
    choices, log_probs = zip(*found, strict=True)
    return _at_width(batch, choices), _at_width(batch, log_probs)


def _each(
    forward: Forward,
    batch: Batch,
    micro_batches: Sequence[Sequence[int]],
    device: torch.device,
    read: Callable[[Any, Any], Any],
    *asked: Any,
) -> Iterator[Any]:
    """`read` of every micro-batch that has rows, on the CPU. Those without rows are run too: ranks go through them
    together."""
    for rows in micro_batches:
        own = micro_batch(batch, rows, device)
        found = read(forward(own, *asked), own)
        if rows:
            yield tuple(one.cpu() for one in found) if isinstance(found, tuple) else found.cpu()


def _at_width(batch: Batch, parts: Iterable[Tensor]) -> Tensor:
    """[rows, T, ...]; of no parts, [0, T]."""
    width = batch.token_ids_BT.shape[1]
    widened = [nn.functional.pad(part, (*(0, 0) * (part.dim() - 2), 0, width - part.shape[1])) for part in parts]
    return torch.cat(widened) if widened else torch.zeros(0, width)
