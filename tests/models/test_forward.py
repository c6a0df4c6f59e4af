"""Log-probs of padded and packed rows are those of the plain model on each row alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.token_rows import rows
from torch import Tensor

from rlsys.batch import Batch, DistillationBatch
from rlsys.models.forward import Scorer, log_probs, top
from rlsys.models.load import load_causal_lm

CPU = torch.device("cpu")


def plain(model: torch.nn.Module, batch: Batch, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probs and entropies by the full logits of one row at a time."""
    scores, entropies = torch.zeros(batch.token_ids_BT.shape), torch.zeros(batch.token_ids_BT.shape)
    for i, length in enumerate(batch.lengths_B.tolist()):
        tokens = batch.token_ids_BT[i, :length]
        table = torch.log_softmax(model(tokens[None]).logits[0, :-1] / temperature, -1)
        scores[i, 1:length] = table.gather(1, tokens[1:, None])[:, 0]
        entropies[i, 1:length] = -(table.exp() * table).sum(1)
    return scores * batch.loss_mask_BT, entropies * batch.loss_mask_BT


@pytest.mark.parametrize("packed", [False, True])
def test_scores_and_gradients_are_the_plain_models(tiny: Path, packed: bool) -> None:
    model, batch = load_causal_lm(tiny, torch.float32), rows()
    weights = torch.linspace(-1, 1, batch.token_ids_BT.numel()).view_as(batch.token_ids_BT)
    found = Scorer(model, packed)(batch, 0.7, True)
    (found[0] * weights + found[1] * weights.flip(0)).sum().backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    wanted = plain(model, batch, 0.7)
    (wanted[0] * weights + wanted[1] * weights.flip(0)).sum().backward()
    torch.testing.assert_close(found[:2], wanted, atol=2e-6, rtol=2e-6)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(
            gradients[name], parameter.grad, atol=1e-5 * float(parameter.grad.abs().max()), rtol=0
        )


def test_packed_rows_do_not_see_each_other(tiny: Path) -> None:
    """A change of one row, however great, must not move another row's log-probs by a single bit; a change of its own
    must."""
    model, batch, other = load_causal_lm(tiny, torch.float32), rows(0), rows(1)
    before, _, _ = Scorer(model, packed=True)(batch, 1.0, False)
    changed = Batch(batch.token_ids_BT.clone(), batch.loss_mask_BT, batch.lengths_B)
    changed.token_ids_BT[1] = other.token_ids_BT[1]
    after, _, _ = Scorer(model, packed=True)(changed, 1.0, False)
    assert torch.equal(before[[0, 2, 3]], after[[0, 2, 3]])
    assert not torch.isclose(before[1], after[1])[batch.loss_mask_BT[1]].any()


def test_micro_batches_come_back_in_the_order_they_name(tiny: Path) -> None:
    model, batch = load_causal_lm(tiny, torch.float32), rows()
    found = log_probs(Scorer(model, packed=False), batch, [[2, 0], [], [3]], 1.0, CPU)
    wanted, _ = plain(model, batch, 1.0)
    torch.testing.assert_close(found, wanted[[2, 0, 3]].detach(), atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize("packed", [False, True])
def test_top_tokens_and_a_students_log_probs_of_them_are_the_plain_models(tiny: Path, packed: bool) -> None:
    """Rows in the order that micro-batches name, one of which is empty; a student scores what a teacher named as the
    full logits say."""
    model, batch = load_causal_lm(tiny, torch.float32), rows()
    order = [2, 0, 3, 1]
    found = top(Scorer(model, packed), batch, [[2, 0], [], [3, 1]], 3, 250, 0.7, CPU)
    assert found is not None
    choices, named = (torch.empty_like(part).index_copy_(0, torch.tensor(order), part) for part in found)
    with torch.no_grad():
        table = torch.log_softmax(model(batch.token_ids_BT).logits[:, :-1] / 0.7, -1)
    mask = batch.loss_mask_BT[:, 1:]
    values, ids = table[..., :250].topk(3)
    rest = (1 - values.double().exp().sum(-1, keepdim=True)).log().float()
    assert torch.equal(choices[:, 1:][mask], ids[mask])
    torch.testing.assert_close(named[:, 1:][mask], torch.cat([values, rest], -1)[mask], atol=5e-6, rtol=0)
    assert not choices[~batch.loss_mask_BT].any()
    assert not named[~batch.loss_mask_BT].any()

    taught = DistillationBatch(**vars(batch), choices_BTK=choices, teacher_log_probs_BTO=named)
    _, _, own = Scorer(model, packed)(taught.rows([3, 0]), 0.7, False)
    torch.testing.assert_close(own, named[[3, 0], : own.shape[1]], atol=5e-6, rtol=0)


def test_a_teacher_without_rows_says_nothing(tiny: Path) -> None:
    assert top(Scorer(load_causal_lm(tiny, torch.float32), packed=False), rows(), [[]], 3, 250, 1.0, CPU) is None
