"""The training engine's gradients against plain PyTorch: the same however the work is split, for every kind of loss."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.train_engine import (
    SEED,
    Crew,
    Setting,
    assert_trained_alike,
    cross_entropy,
    preferred,
    rankings,
    rows,
    taught,
    valued,
)
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from rlsys.models.value_model import load_value_model
from rlsys.objectives.distillation_loss import DistillationLoss
from rlsys.objectives.preference_loss import PreferenceLoss
from rlsys.objectives.reward_model_loss import BradleyTerryLoss
from rlsys.objectives.value_loss import ClippedValueLoss

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def crews(one: Crew, two: Crew) -> dict[int, Crew]:
    return {1: one, 2: two}


def clipped(network: torch.nn.Module) -> dict[str, Any]:
    norm = float(torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0))
    return {
        "norm": norm,
        "gradients": {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None},
    }


def assert_clipped_alike(crew: Crew, answers: list[dict[str, float]], truth: dict[str, Any]) -> None:
    """`answers`: of the first step since the engine was built."""
    assert answers[0]["grad_norm"] == pytest.approx(truth["norm"], rel=2e-5)
    for own in crew.all("gradients"):
        assert own.keys() == truth["gradients"].keys()
        for weight, expected in truth["gradients"].items():
            torch.testing.assert_close(
                own[weight], expected, rtol=0, atol=1e-5 * float(expected.abs().max()), msg=weight
            )


@pytest.fixture(scope="module")
def truth(model_path: Path) -> dict[str, Any]:
    """Plain PyTorch: whole logits, one row at a time, AdamW, three steps; the gradients are the first step's."""
    network = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32)
    matrices = [p for p in network.parameters() if p.dim() > 1]
    others = [p for p in network.parameters() if p.dim() == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95))
    steps = []
    for seed in range(3):
        batch = rows(seed)
        cross_entropy(network, batch).backward()
        steps.append(clipped(network))
        optimizer.step()
        optimizer.zero_grad()
    return steps[0] | {"later_norms": [step["norm"] for step in steps[1:]], "weights": dict(network.named_parameters())}


SPLITS = {
    "zero 0": (2, Setting(zero=0), 1),
    "zero 1": (2, Setting(zero=1), 1),
    "zero 2": (2, Setting(zero=2), 1),
    "zero 3": (2, Setting(zero=3), 1),
    "one rank": (1, Setting(zero=2), 1),
    "one rank, one micro-batch": (1, Setting(zero=0, budget=4000), 1),
    "packed": (2, Setting(zero=2, packing="packed"), 1),
    "zero 3, packed, small, recomputed": (2, Setting(zero=3, packing="packed", budget=45, checkpointing=True), 1),
    "zero 0, accumulated in two calls": (2, Setting(zero=0), 2),
    "zero 1, accumulated in two calls": (2, Setting(zero=1), 2),
    "zero 2, accumulated in eleven calls": (2, Setting(zero=2), 11),  # one row each: the other rank idles
    "zero 3, accumulated in eleven calls": (2, Setting(zero=3, checkpointing=True), 11),
}


@pytest.mark.parametrize("name", SPLITS)
def test_gradients_do_not_depend_on_the_split(crews: dict[int, Crew], truth: dict[str, Any], name: str) -> None:
    ranks, setting, parts = SPLITS[name]
    crew = crews[ranks]
    crew.build(setting)
    answers = crew.all("train", rows(0), parts)
    assert truth["norm"] > 1.5, "clipping must have had something to do"
    assert_clipped_alike(crew, answers, truth)
    norms = [crew.all("train", rows(seed), parts)[0]["grad_norm"] for seed in (1, 2)]
    assert norms == pytest.approx(truth["later_norms"], rel=2e-5)
    for own in crew.all("weights"):
        assert_trained_alike(own, truth["weights"])
    if parts == 11:
        assert sum(answer["idle"] for answer in answers) == 11


@pytest.fixture(scope="module")
def student_truth(model_path: Path) -> dict[str, Any]:
    """Plain PyTorch and whole logits: KL(student || teacher) over six outcomes plus half the cross-entropy, one place
    at a time."""
    network, batch, total = (
        AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32),
        taught(),
        torch.zeros(()),
    )
    for i, length in enumerate(batch.lengths_B.tolist()):
        tokens = batch.token_ids_BT[i, :length]
        probabilities = network(tokens[None]).logits[0].softmax(-1)
        for t in batch.loss_mask_BT[i, :length].nonzero()[:, 0].tolist():
            named = probabilities[t - 1, batch.choices_BTK[i, t]]
            student = torch.cat([named, 1 - named.sum()[None]])
            total = (
                total
                + (student * (student.log() - batch.teacher_log_probs_BTO[i, t])).sum()
                - 0.5 * probabilities[t - 1, tokens[t]].log()
            )
    (total / batch.loss_mask_BT.sum()).backward()
    return clipped(network)


@pytest.mark.parametrize(
    "name", ["zero 0", "zero 2", "packed", "zero 3, packed, small, recomputed", "zero 3, accumulated in eleven calls"]
)
def test_a_student_s_gradients_do_not_depend_on_the_split(
    crews: dict[int, Crew], student_truth: dict[str, Any], name: str
) -> None:
    ranks, setting, parts = SPLITS[name]
    crew = crews[ranks]
    crew.build(setting)
    answers = crew.all("train", taught(), parts, DistillationLoss("reverse_kl", ce_weight=0.5))
    assert_clipped_alike(crew, answers, student_truth)


SCALAR_SPLITS = {
    "zero 0, accumulated in four calls": (2, Setting(zero=0, budget=160), 4),  # one ranking each: the other rank idles
    "zero 1, packed": (2, Setting(zero=1, packing="packed", budget=160), 1),
    "zero 2": (2, Setting(zero=2, budget=160), 1),
    "zero 3, packed, accumulated in two calls": (
        2,
        Setting(zero=3, packing="packed", budget=160, checkpointing=True),
        2,
    ),
    "one rank, one micro-batch": (1, Setting(zero=0, budget=4000), 1),
}


@pytest.fixture(scope="module")
def preference_truth(model_path: Path) -> dict[str, Any]:
    """Plain PyTorch, one answer and one pair at a time: DPO with beta 0.5 on rankings, also of soft labels, and 0.3 of
    the chosen answer's nll."""
    network, batch, total = (
        AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32),
        preferred(),
        torch.zeros(()),
    )
    sums = []
    for i, length in enumerate(batch.lengths_B.tolist()):
        tokens = batch.token_ids_BT[i, :length]
        scores = network(tokens[None]).logits[0, :-1].log_softmax(-1).gather(1, tokens[1:, None])[:, 0]
        sums.append(scores[batch.loss_mask_BT[i, 1:length]].sum())
    for unit in range(4):
        members = (batch.unit_B == unit).nonzero()[:, 0].tolist()
        costs = []
        for good in members:
            for bad in members:
                if batch.grade_B[good] > batch.grade_B[bad]:
                    ratios = [sums[row] + math.log(262) * batch.loss_mask_BT[row].sum() for row in (good, bad)]
                    h, sure = 0.5 * (ratios[0] - ratios[1]), float(batch.preference_B[good])
                    means = [sums[row] / batch.loss_mask_BT[row].sum() for row in (good, bad)]
                    cost = -sure * torch.sigmoid(h).log() - (1 - sure) * torch.sigmoid(-h).log()
                    costs.append(cost - 0.3 * (sure * means[0] + (1 - sure) * means[1]))
        total = total + sum(costs) / len(costs) / 4
    total.backward()
    return clipped(network)


@pytest.mark.parametrize("name", SCALAR_SPLITS)
def test_gradients_of_preferences_do_not_depend_on_the_split(
    crews: dict[int, Crew], preference_truth: dict[str, Any], name: str
) -> None:
    """ZeRO 0 to 3; a ranking's answers are always on one rank and in one micro-batch."""
    ranks, setting, parts = SCALAR_SPLITS[name]
    crew = crews[ranks]
    crew.build(setting)
    answers = crew.all("train", preferred(), parts, PreferenceLoss("dpo", beta=0.5, sft_weight=0.3))
    assert_clipped_alike(crew, answers, preference_truth)


@pytest.fixture(scope="module")
def scalar_truth(model_path: Path) -> dict[str, dict[str, Any]]:
    """Plain PyTorch again, for both losses of scalar heads: one row at a time, each term of the loss by its definition,
    one AdamW step."""
    return {"rankings": one_step(model_path, ranking_loss), "values": one_step(model_path, value_loss)}


def one_step(model: Path, loss: Any) -> dict[str, Any]:
    network = AutoModelForSequenceClassification.from_pretrained(model, num_labels=1, dtype=torch.float32)
    network.score.load_state_dict(
        load_value_model(model, torch.float32, heads=1, seed=SEED).get_submodule("score").state_dict()
    )
    batch, scores = rows(0), []
    for i, length in enumerate(batch.lengths_B.tolist()):
        scores.append(network.score(network.model(batch.token_ids_BT[i : i + 1, :length]).last_hidden_state)[0, :, 0])
    loss(scores).backward()
    first = clipped(network)
    decayed = [
        {"params": [p for p in network.parameters() if (p.dim() > 1) == large], "weight_decay": 0.1 * large}
        for large in (True, False)
    ]
    torch.optim.AdamW(decayed, lr=1e-3, betas=(0.9, 0.95)).step()
    return first | {"weights": dict(network.named_parameters())}


def ranking_loss(scores: list[Tensor]) -> Tensor:
    batch, total = rankings(), torch.zeros(())
    for unit in range(4):
        members = (batch.unit_B == unit).nonzero()[:, 0].tolist()
        terms = [
            torch.nn.functional.binary_cross_entropy_with_logits(scores[a][-1] - scores[b][-1], batch.preference_B[a])
            + 0.01 * (scores[a][-1] + scores[b][-1]) ** 2
            for a in members
            for b in members
            if batch.grade_B[a] > batch.grade_B[b]
        ]
        assert len(terms) == [1, 3, 1, 5][unit]
        total = total + sum(terms) / len(terms)
    return total / 4


def value_loss(scores: list[Tensor]) -> Tensor:
    """Of the value before each trained token: the score of the token before."""
    batch, total, clipped = valued(), torch.zeros(()), 0
    for i, t in batch.loss_mask_BT.nonzero().tolist():
        value, old, wanted = scores[i][t - 1], batch.old_values_BT[i, t], batch.returns_BT[i, t]
        bounded = torch.minimum(torch.maximum(value, old - 0.5), old + 0.5)
        clipped += int((bounded - wanted) ** 2 > (value - wanted) ** 2)
        total = total + 0.5 * torch.maximum((value - wanted) ** 2, (bounded - wanted) ** 2)
    assert clipped > 10
    return total / batch.loss_mask_BT.sum()


@pytest.mark.parametrize("task", ["rankings", "values"])
@pytest.mark.parametrize("name", SCALAR_SPLITS)
def test_a_scalar_head_s_gradients_do_not_depend_on_the_split(
    crews: dict[int, Crew], scalar_truth: dict[str, dict[str, Any]], name: str, task: str
) -> None:
    ranks, setting, parts = SCALAR_SPLITS[name]
    crew = crews[ranks]
    crew.build(replace(setting, heads=1))
    given = (
        (rankings(), parts, BradleyTerryLoss(centering=0.01))
        if task == "rankings"
        else (valued(), parts, ClippedValueLoss(clip=0.5))
    )
    answers, truth = crew.all("train", *given), scalar_truth[task]
    assert_clipped_alike(crew, answers, truth)
    for own in crew.all("weights"):
        assert_trained_alike(own, truth["weights"])
