"""Log-probs and entropies of given tokens, from hidden states, without ever holding the logits of a whole batch.

The only place that knows the shift: the hidden state of token t-1 predicts token t. Only tokens inside the mask are projected to the
vocabulary, a chunk at a time; the backward pass projects each chunk again. Shapes as in `rlsys.batch`, D the hidden size, V the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from rlsys.objectives.outputs import Outputs

Head = Callable[[Tensor], Tensor]
"""The output projection: hidden [N, D] -> logits [N, V]. Called once per chunk (also for zero tokens), and again in the backward pass."""


def token_log_probs(
    hidden_BTD: Tensor,
    token_ids_BT: Tensor,
    mask_BT: Tensor,
    head: Head,
    temperature: float,
    chunk_tokens: int = 1024,
    with_entropy: bool = False,
) -> Outputs:
    """Score the masked tokens of padded rows. Results are float32 [B, T], 0 outside the mask; see `flat_log_probs` for the rest."""
    rows, width = token_ids_BT.shape
    starts_B = torch.arange(rows, device=mask_BT.device) * width
    return _score_rows(hidden_BTD.flatten(0, 1), starts_B, token_ids_BT, mask_BT, head, temperature, chunk_tokens, with_entropy)


def packed_token_log_probs(
    hidden_ND: Tensor,
    lengths_B: Tensor,
    token_ids_BT: Tensor,
    mask_BT: Tensor,
    head: Head,
    temperature: float,
    chunk_tokens: int = 1024,
    with_entropy: bool = False,
) -> Outputs:
    """The same for a model that ran on the rows concatenated without padding: row b holds `lengths_B[b]` consecutive rows of `hidden_ND`.

    Tokens, mask and results keep the padded shape.
    """
    starts_B = lengths_B.cumsum(0) - lengths_B
    return _score_rows(hidden_ND, starts_B, token_ids_BT, mask_BT, head, temperature, chunk_tokens, with_entropy)


def flat_log_probs(
    hidden_ND: Tensor, targets_N: Tensor, head: Head, temperature: float, chunk_tokens: int = 1024, with_entropy: bool = False
) -> tuple[Tensor, Tensor | None]:
    """log p(targets_N[n] | hidden_ND[n]) and, if asked for, entropies (nats), both float32 [N] and both with gradient.

    No shift here: hidden_ND[n] is the state that predicts targets_N[n]. At most `chunk_tokens` rows of logits exist at a time, forward and
    backward. The gradient flows to `hidden_ND` and to the head's weights. ValueError unless temperature and chunk_tokens are positive.
    """
    if chunk_tokens < 1:
        raise ValueError(f"chunk_tokens is {chunk_tokens}: give at least 1")

    def score(chunk_ND: Tensor, targets: Tensor) -> tuple[Tensor, Tensor | None]:
        return logits_log_probs(head(chunk_ND), targets, temperature, with_entropy)

    # An empty tensor splits into one empty chunk, so that the head's weights are in the graph even where a rank has nothing to train on.
    chunks = zip(hidden_ND.split(chunk_tokens), targets_N.split(chunk_tokens), strict=True)
    scored: list[tuple[Tensor, Tensor | None]] = [checkpoint(score, *chunk, use_reentrant=False) for chunk in chunks]
    log_probs_N = torch.cat([log_probs for log_probs, _ in scored])
    entropies = [entropy for _, entropy in scored if entropy is not None]
    return log_probs_N, torch.cat(entropies) if with_entropy else None


def logits_log_probs(logits_NV: Tensor, targets_N: Tensor, temperature: float, with_entropy: bool = False) -> tuple[Tensor, Tensor | None]:
    """The definition: log_softmax(logits / temperature) in float32 at the targets, and -sum p log p over the vocabulary.

    ValueError unless temperature is positive: a greedy policy (temperature 0) has no log-probs.
    """
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}: log-probs need one above 0")
    log_probs_NV = torch.log_softmax(logits_NV.float() / temperature, dim=-1)
    log_probs_N = log_probs_NV.gather(-1, targets_N[:, None]).squeeze(-1)
    return log_probs_N, -(log_probs_NV.exp() * log_probs_NV).sum(-1) if with_entropy else None


def _score_rows(
    hidden_ND: Tensor,
    starts_B: Tensor,
    token_ids_BT: Tensor,
    mask_BT: Tensor,
    head: Head,
    temperature: float,
    chunk_tokens: int,
    with_entropy: bool,
) -> Outputs:
    """Row b of the padded shape starts at `hidden_ND[starts_B[b]]`."""
    assert not mask_BT[:, :1].any(), "nothing predicts the first token of a row: mask_BT[:, 0] must be False"
    source_BT = starts_B[:, None] + torch.arange(mask_BT.shape[1], device=mask_BT.device) - 1
    predicting_ND = hidden_ND.index_select(0, source_BT[mask_BT])
    log_probs_N, entropy_N = flat_log_probs(predicting_ND, token_ids_BT[mask_BT], head, temperature, chunk_tokens, with_entropy)

    def unflatten(values_N: Tensor) -> Tensor:
        return values_N.new_zeros(mask_BT.shape).masked_scatter(mask_BT, values_N)

    return Outputs(unflatten(log_probs_N), None if entropy_N is None else unflatten(entropy_N))
