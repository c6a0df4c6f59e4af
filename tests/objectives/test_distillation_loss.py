from __future__ import annotations

import math
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from rlsys.batch import DistillationBatch
from rlsys.objectives.distillation_loss import DistillationLoss, DivergenceName, jsd, kl
from rlsys.objectives.log_probs import NOTHING_LEFT, flat_top, outcomes
from rlsys.objectives.outputs import Outputs
from rlsys.objectives.reduction import SequenceMean
from rlsys.objectives.stats import values

KINDS = get_args(DivergenceName)


def logs(*probabilities: float) -> Tensor:
    return torch.tensor([probabilities], dtype=torch.float64).log()


def distributions(seed: int, vocabulary: int = 7, places: int = 5) -> tuple[Tensor, Tensor]:
    """Log-probs of a teacher and a student, [N, V]."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(
        torch.randn(places, vocabulary, generator=generator, dtype=torch.float64).mul(2).log_softmax(-1)
        for _ in range(2)
    )  # pyright: ignore[reportReturnType]


def test_divergences_by_hand():
    """Teacher (1/2, 1/4, 1/4), student (1/4, 1/4, 1/2): 1/2 ln 2 + 0 - 1/4 ln 2 both ways. Half-way between them is
    (3/8, 1/4, 3/8): KL(teacher || m) = 1/2 ln 4/3 + 1/4 ln 2/3 = 0.0424747, and by symmetry KL(student || m) is the
    same."""
    teacher, student = logs(0.5, 0.25, 0.25), logs(0.25, 0.25, 0.5)
    assert kl(teacher, student).item() == pytest.approx(0.25 * math.log(2))
    assert jsd(teacher, student, 0.5).item() == pytest.approx(0.5 * math.log(4 / 3) + 0.25 * math.log(2 / 3))
    # beta 1/4: m = (5/16, 1/4, 7/16)
    of_teacher = 0.5 * math.log(8 / 5) + 0.25 * math.log(4 / 7)
    of_student = 0.25 * math.log(4 / 5) + 0.5 * math.log(8 / 7)
    assert jsd(teacher, student, 0.25).item() == pytest.approx(0.25 * of_teacher + 0.75 * of_student)
    # The two directions differ where the distributions are no mirror images: (3/4, 1/4) and (1/2, 1/2).
    uneven, even = logs(0.75, 0.25), logs(0.5, 0.5)
    loss = {kind: DistillationLoss(kind).divergence(uneven, even).item() for kind in KINDS}
    assert loss["forward_kl"] == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert loss["reverse_kl"] == pytest.approx(0.5 * math.log(2 / 3) + 0.5 * math.log(2))
    assert loss["jsd"] == pytest.approx(
        0.5 * 0.75 * math.log(6 / 5) + 0.5 * 0.25 * math.log(2 / 3) + 0.25 * math.log(4 / 5) + 0.25 * math.log(4 / 3)
    )


@pytest.mark.parametrize(("beta", "kind"), [(1e-6, "forward_kl"), (1 - 1e-6, "reverse_kl")])
def test_the_ends_of_beta_are_the_two_kls(beta: float, kind: DivergenceName):
    """JSD(beta) / beta -> forward, JSD(beta) / (1 - beta) -> reverse KL; values and gradients."""
    teacher, logits = distributions(0)
    student = logits.requires_grad_().log_softmax(-1)
    scaled, wanted = (
        jsd(teacher, student, beta) / min(beta, 1 - beta),
        DistillationLoss(kind).divergence(teacher, student),
    )
    assert_close(scaled, wanted, atol=1e-4, rtol=1e-4)
    found, expected = (torch.autograd.grad(one.sum(), logits, retain_graph=True)[0] for one in (scaled, wanted))
    assert_close(found, expected, atol=1e-4, rtol=1e-4)


@settings(max_examples=60)
@given(seed=st.integers(0, 2**31), k=st.integers(1, 7), beta=st.sampled_from([0.1, 0.5, 0.9]))
def test_fewer_tokens_bound_the_divergence_from_below(seed: int, k: int, beta: float):
    """By brute force over the vocabulary; equal when all of it is named, and never less for more tokens."""
    teacher, student = distributions(seed)
    order = teacher.argsort(-1, descending=True)
    for kind in KINDS:
        loss = DistillationLoss(kind, beta=beta)
        whole = loss.divergence(teacher, student)
        merged = [
            loss.divergence(outcomes(teacher, order[:, :n]), outcomes(student, order[:, :n]))
            for n in (k, min(k + 1, 7), 7)
        ]
        assert (merged[0] >= -1e-12).all()
        assert (merged[0] <= merged[1] + 1e-12).all()
        assert (merged[0] <= whole + 1e-12).all()
        assert_close(merged[2], whole, atol=1e-12, rtol=1e-9)


def problem(
    seed: int, k: int, ce_weight: float = 0.0, kind: DivergenceName = "forward_kl"
) -> tuple[Any, DistillationBatch, Tensor, Tensor]:
    """A loss and a batch; the teacher's and the student's whole logits [B, T, V], of the token at the same place."""
    generator = torch.Generator().manual_seed(seed)
    mask_BT = torch.tensor([[False, True, True, False], [False, False, True, True]])
    teacher, student = (torch.randn(2, 4, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    token_ids = torch.randint(6, (2, 4), generator=generator)
    log_probs = teacher.log_softmax(-1)
    choices = log_probs.topk(k).indices
    named = torch.stack([outcomes(rows, ids) for rows, ids in zip(log_probs, choices, strict=True)])
    kept = mask_BT[:, :, None]
    batch = DistillationBatch(token_ids, mask_BT, torch.tensor([3, 4]), choices * kept, named * kept)
    return DistillationLoss(kind, beta=0.3, ce_weight=ce_weight), batch, teacher, student.requires_grad_()


def outputs(batch: DistillationBatch, student: Tensor) -> Outputs:
    log_probs = student.log_softmax(-1)
    kept = batch.loss_mask_BT
    named = (
        torch.stack([outcomes(rows, ids) for rows, ids in zip(log_probs, batch.choices_BTK, strict=True)])
        * kept[:, :, None]
    )
    return Outputs(log_probs.gather(-1, batch.token_ids_BT[:, :, None])[:, :, 0] * kept, None, named)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [1, 3, 6])
def test_value_and_gradient_by_brute_force(kind: DivergenceName, k: int):
    """Against sums over explicit probabilities of K + 1 outcomes, built from the whole logits a place at a time."""
    loss, batch, teacher, student = problem(3, k, ce_weight=0.5, kind=kind)
    total, stats = loss(outputs(batch, student), batch)
    (gradient,) = torch.autograd.grad(total, student)

    expected, forward, nll = torch.zeros((), dtype=torch.float64), 0.0, 0.0
    for b, t in batch.loss_mask_BT.nonzero().tolist():
        p, q = teacher[b, t].softmax(0), student[b, t].softmax(0)
        named = p.argsort(descending=True)[:k]
        others = [v for v in range(6) if v not in named.tolist()]
        p, q = (torch.cat([x[named], x[others].sum()[None]]) if others else x[named] for x in (p, q))
        m = 0.3 * p + 0.7 * q
        expected = (
            expected
            + {
                "forward_kl": (p * (p / q).log()).sum(),
                "reverse_kl": (q * (q / p).log()).sum(),
                "jsd": 0.3 * (p * (p / m).log()).sum() + 0.7 * (q * (q / m).log()).sum(),
            }[kind]
        )
        cross = -student[b, t].log_softmax(0)[batch.token_ids_BT[b, t]]
        expected = expected + 0.5 * cross
        forward, nll = forward + float((p * (p / q).log()).sum().detach()), nll + float(cross.detach())
    assert_close(total, expected)
    assert_close(gradient, torch.autograd.grad(expected, student)[0])
    assert not gradient[~batch.loss_mask_BT].any()
    assert loss.normalizer(batch) == 4
    found = values(stats)
    assert (found["loss"], found["forward_kl"], found["nll"]) == pytest.approx(
        (expected.item() / 4, forward / 4, nll / 4)
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [2, 6])
def test_the_teacher_itself_has_no_loss_and_no_gradient(kind: DivergenceName, k: int):
    loss, batch, teacher, _ = problem(5, k, kind=kind)
    own = teacher.clone().requires_grad_()
    total, stats = loss(outputs(batch, own), batch)
    assert float(total) == pytest.approx(0.0, abs=1e-12)
    assert float(torch.autograd.grad(total, own)[0].abs().max()) < 1e-12
    assert values(stats)["agreement"] == 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_a_teacher_that_is_sure_stays_finite(kind: DivergenceName):
    """In float32, 80 nats of logits: the tokens that are left have no probability that could be told from 0 by 1 -
    sum."""
    teacher = torch.tensor([[80.0, 0.0, 0.0, 0.0]])
    for place in (0, 1, 3):
        logits = [80.0 if token == place else 0.0 for token in range(4)]
        for k in (1, 4):
            # Where both are sure of different tokens, each finds the other's 80 nats unlikely, or NOTHING_LEFT among
            # those that are not named.
            wanted = (
                {"forward_kl": 80.0, "reverse_kl": 80.0 if k == 4 else -NOTHING_LEFT, "jsd": math.log(2)}[kind]
                if place
                else 0.0
            )
            choices, named = flat_top(teacher, lambda hidden: hidden, k, 4, 1.0)
            student = torch.tensor([logits], requires_grad=True)
            divergence = DistillationLoss(kind).divergence(named, outcomes(student.log_softmax(-1), choices))
            divergence.sum().backward()
            assert student.grad is not None
            assert divergence.item() == pytest.approx(wanted, abs=1e-4)
            assert torch.isfinite(student.grad).all()
    # What is left over is measured, not computed as 1 - sum: 3 tokens at -30 nats each.
    named = outcomes(torch.tensor([[30.0, 0.0, 0.0, 0.0]]).log_softmax(-1), torch.tensor([[0]]))
    assert named[0, 1].item() == pytest.approx(math.log(3) - 30, abs=1e-4)
    assert outcomes(torch.tensor([[90.0, 0.0]]).log_softmax(-1), torch.tensor([[0]]))[0, 1].item() == NOTHING_LEFT


def test_statistics_of_one_place():
    """The teacher names tokens 1 (1/2) and 0 (1/4), the rest is 1/4; its entropy is 1/2 ln 2 + 1/2 ln 4. The student
    prefers token 0."""
    batch = DistillationBatch(
        torch.tensor([[0, 0]]), torch.tensor([[False, True]]), torch.tensor([2]), torch.tensor([[[0, 0], [1, 0]]]),
        torch.stack([torch.zeros(1, 3), logs(0.5, 0.25, 0.25).float()], 1),
    )  # fmt: skip
    student = torch.stack([torch.zeros(1, 3), logs(0.25, 0.625, 0.125).float()], 1)
    _, stats = DistillationLoss()(Outputs(torch.tensor([[0.0, math.log(0.625)]]), None, student), batch)
    found = values(stats)
    assert found["teacher_entropy"] == pytest.approx(1.5 * math.log(2))
    assert found["teacher_mass"] == pytest.approx(0.75)
    assert found["agreement"] == 0.0
    assert found["nll"] == pytest.approx(-math.log(0.625))
    assert found["reverse_kl"] == pytest.approx(0.25 * math.log(0.5) + 0.625 * math.log(2.5) + 0.125 * math.log(0.5))


def test_any_split_and_any_reduction_add_up():
    loss = DistillationLoss("jsd", ce_weight=0.2, reduction=SequenceMean())
    _, batch, _, student = problem(7, 3)
    whole, _ = loss(outputs(batch, student), batch)
    parts = [
        loss(outputs(batch.rows([row]), student[[row], : int(batch.lengths_B[row])]), batch.rows([row]))
        for row in (0, 1)
    ]
    assert_close(whole, parts[0][0] + parts[1][0])
    assert loss.normalizer(batch) == sum(loss.normalizer(batch.rows([row])) for row in (0, 1)) == 2
