"""Log-probs and entropies of given tokens, from hidden states, without ever holding the logits of a whole batch.

The only place that knows the shift: the hidden state of token t-1 predicts token t. Only tokens inside the mask are
projected to the vocabulary, a chunk at a time; the backward pass projects each chunk again. Shapes as in `rlsys.batch`,
D the hidden size, V the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.utils.checkpoint

from rlsys.objectives.outputs import Outputs

if TYPE_CHECKING:
    from torch import Tensor

Head = Callable[["Tensor"], "Tensor"]
"""The output projection: hidden [N, D] -> logits [N, V]. Called once per chunk (also for zero tokens), and again in the
backward pass."""
NOTHING_LEFT = -50.0
"""Log of the probability (2e-22) that stands for none at all in `outcomes`: no infinity ever reaches a loss."""


def token_log_probs(
    hidden_BTD: Tensor,
    token_ids_BT: Tensor,
    mask_BT: Tensor,
    head: Head,
    temperature: float,
    chunk_tokens: int = 1024,
    with_entropy: bool = False,
    choices_BTK: Tensor | None = None,
) -> Outputs:
    """Score the masked tokens of padded rows. Results are float32 [B, T, ...], 0 outside the mask; see `flat_log_probs`
    for the rest."""
    predicting_ND = predicting(hidden_BTD.flatten(0, 1), padded_starts(mask_BT), mask_BT)
    return _score_rows(predicting_ND, token_ids_BT, mask_BT, choices_BTK, head, temperature, chunk_tokens, with_entropy)


def packed_token_log_probs(
    hidden_ND: Tensor,
    lengths_B: Tensor,
    token_ids_BT: Tensor,
    mask_BT: Tensor,
    head: Head,
    temperature: float,
    chunk_tokens: int = 1024,
    with_entropy: bool = False,
    choices_BTK: Tensor | None = None,
) -> Outputs:
    """The same for a model that ran on the rows concatenated without padding: row b holds `lengths_B[b]` consecutive
    rows of `hidden_ND`.

    Tokens, mask, choices and results keep the padded shape.
    """
    predicting_ND = predicting(hidden_ND, packed_starts(lengths_B), mask_BT)
    return _score_rows(predicting_ND, token_ids_BT, mask_BT, choices_BTK, head, temperature, chunk_tokens, with_entropy)


def padded_starts(mask_BT: Tensor) -> Tensor:
    """Where each row begins among the hidden states of padded rows, one after the other."""
    return torch.arange(len(mask_BT), device=mask_BT.device) * mask_BT.shape[1]


def packed_starts(lengths_B: Tensor) -> Tensor:
    """The same where the rows have no padding."""
    return lengths_B.cumsum(0) - lengths_B


def predicting(hidden_ND: Tensor, starts_B: Tensor, mask_BT: Tensor) -> Tensor:
    """The hidden states that predict the masked tokens, in the mask's order. Row b of the mask begins at
    `hidden_ND[starts_B[b]]`."""
    assert not mask_BT[:, :1].any(), "nothing predicts the first token of a row: mask_BT[:, 0] must be False"
    source_BT = starts_B[:, None] + torch.arange(mask_BT.shape[1], device=mask_BT.device) - 1
    return hidden_ND.index_select(0, source_BT[mask_BT])


def flat_log_probs(
    hidden_ND: Tensor,
    targets_N: Tensor,
    head: Head,
    temperature: float,
    chunk_tokens: int = 1024,
    with_entropy: bool = False,
    choices_NK: Tensor | None = None,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """log p(targets_N[n] | hidden_ND[n]) and, if asked for, entropies (nats), both float32 [N] and both with gradient;
    with `choices_NK` also their `outcomes`, [N, K + 1].

    No shift here: hidden_ND[n] is the state that predicts targets_N[n]. At most `chunk_tokens` rows of logits exist at
    a time, forward and backward. The gradient flows to `hidden_ND` and to the head's weights. ValueError unless
    temperature and chunk_tokens are positive.
    """
    _check(chunk_tokens)

    def score(chunk_ND: Tensor, targets: Tensor, choices: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
        log_probs_NV = log_softmax(head(chunk_ND), temperature)
        own = None if choices is None else outcomes(log_probs_NV, choices)
        return *_of_targets(log_probs_NV, targets, with_entropy), own

    # An empty tensor splits into one empty chunk, so that the head's weights are in the graph even where a rank has
    # nothing to train on.
    chunks = list(zip(hidden_ND.split(chunk_tokens), targets_N.split(chunk_tokens), strict=True))
    choices = [None] * len(chunks) if choices_NK is None else choices_NK.split(chunk_tokens)
    scored: list[Any] = [
        torch.utils.checkpoint.checkpoint(score, *chunk, own, use_reentrant=False)
        for chunk, own in zip(chunks, choices, strict=True)
    ]
    given, entropies, of_choices = zip(*scored, strict=True)
    return (
        torch.cat(given),
        torch.cat(entropies) if with_entropy else None,
        None if choices_NK is None else torch.cat(of_choices),
    )


def flat_top(
    hidden_ND: Tensor, head: Head, k: int, vocabulary: int, temperature: float, chunk_tokens: int = 1024
) -> tuple[Tensor, Tensor]:
    """The k most likely of the tokens below `vocabulary`, best first, int64 [N, k], and their `outcomes`, float32 [N, k
    + 1]. A k of 0, or above `vocabulary`, names all of them. No gradient is meant to flow. Chunks and errors as in
    `flat_log_probs`."""
    _check(chunk_tokens)
    named = min(k or vocabulary, vocabulary)
    found: list[tuple[Tensor, Tensor]] = []
    for chunk_ND in hidden_ND.split(chunk_tokens):
        log_probs_NV = log_softmax(head(chunk_ND), temperature)
        choices_NK = log_probs_NV[:, :vocabulary].topk(named, dim=-1).indices
        found.append((choices_NK, outcomes(log_probs_NV, choices_NK)))
    return torch.cat([choices for choices, _ in found]), torch.cat([log_probs for _, log_probs in found])


def outcomes(log_probs_NV: Tensor, choices_NK: Tensor) -> Tensor:
    """[N, K + 1]: log-probs of the chosen tokens (each at most once), and last that of any other token; `NOTHING_LEFT`
    at least."""
    chosen_NK = log_probs_NV.gather(-1, choices_NK)
    if choices_NK.shape[-1] == log_probs_NV.shape[-1]:
        return torch.cat([chosen_NK, torch.full_like(chosen_NK[:, :1], NOTHING_LEFT)], dim=-1)
    # Not log(1 - sum): in float32 that has no digit left where the chosen tokens are nearly all there is.
    others_N1 = log_probs_NV.scatter(-1, choices_NK, -torch.inf).logsumexp(-1, keepdim=True)
    return torch.cat([chosen_NK, others_N1.clamp(min=NOTHING_LEFT)], dim=-1)


def logits_log_probs(
    logits_NV: Tensor, targets_N: Tensor, temperature: float, with_entropy: bool = False
) -> tuple[Tensor, Tensor | None]:
    """The definition: log_softmax(logits / temperature) in float32 at the targets, and -sum p log p over the
    vocabulary.

    ValueError unless temperature is positive: a greedy policy (temperature 0) has no log-probs.
    """
    return _of_targets(log_softmax(logits_NV, temperature), targets_N, with_entropy)


def log_softmax(logits_NV: Tensor, temperature: float) -> Tensor:
    """The same of the whole vocabulary."""
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}: log-probs need one above 0")
    return torch.log_softmax(logits_NV.float() / temperature, dim=-1)


def unflatten(values_N: Tensor, mask_BT: Tensor) -> Tensor:
    """[N, ...] of the masked tokens, in the mask's order -> [B, T, ...], 0 elsewhere."""
    shape = (*mask_BT.shape, *values_N.shape[1:])
    return values_N.new_zeros(shape).masked_scatter(mask_BT.view(*mask_BT.shape, *[1] * (values_N.dim() - 1)), values_N)


def _check(chunk_tokens: int) -> None:
    if chunk_tokens < 1:
        raise ValueError(f"chunk_tokens is {chunk_tokens}: give at least 1")


def _of_targets(log_probs_NV: Tensor, targets_N: Tensor, with_entropy: bool) -> tuple[Tensor, Tensor | None]:
    log_probs_N = log_probs_NV.gather(-1, targets_N[:, None]).squeeze(-1)
    return log_probs_N, -(log_probs_NV.exp() * log_probs_NV).sum(-1) if with_entropy else None


def _score_rows(
    predicting_ND: Tensor,
    token_ids_BT: Tensor,
    mask_BT: Tensor,
    choices_BTK: Tensor | None,
    head: Head,
    temperature: float,
    chunk_tokens: int,
    with_entropy: bool,
) -> Outputs:
    choices_NK = None if choices_BTK is None else choices_BTK[mask_BT]
    found = flat_log_probs(
        predicting_ND, token_ids_BT[mask_BT], head, temperature, chunk_tokens, with_entropy, choices_NK
    )
    log_probs_BT, entropy_BT, outcomes_BTO = (
        None if values is None else unflatten(values, mask_BT) for values in found
    )
    assert log_probs_BT is not None
    return Outputs(log_probs_BT, entropy_BT, outcomes_BTO)
