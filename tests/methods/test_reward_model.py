from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from rlsys.batch import Batch, ComparisonBatch
from rlsys.config.sampling import SamplingConfig
from rlsys.data.load import Comparison, Demonstration
from rlsys.data.stream import Stream
from rlsys.errors import RlsysError
from rlsys.methods.base import Measures, Step
from rlsys.methods.reward_model import Config, Method
from rlsys.objectives.outputs import ValueOutputs
from rlsys.objectives.stats import Mean, Stats, values
from rlsys.roles import Roles

PROMPT, STEP = 0, Step(1, 0, 0)


@dataclass
class Table:
    """A reward model that knows a score for each last token, whatever came before; plain SGD."""

    scores_VK: Tensor
    rate: float = 1.0
    seen: list[ComparisonBatch] = field(default_factory=list)

    def outputs(self, batch: Batch) -> ValueOutputs:
        return ValueOutputs(self.scores_VK[batch.token_ids_BT])

    def scores(self, batch: Batch) -> Tensor:
        return self.outputs(batch).last_BK(batch.lengths_B).float().detach()

    def forward_backward(self, batch: Batch, loss: Any) -> Stats:
        assert isinstance(batch, ComparisonBatch)
        self.seen.append(batch)
        self.scores_VK.requires_grad_()
        total, stats = loss(self.outputs(batch), batch)
        (total / loss.normalizer(batch)).backward()
        return stats

    def optimizer_step(self, scale: float = 1.0) -> Stats:
        assert self.scores_VK.grad is not None
        self.scores_VK = (self.scores_VK - scale * self.rate * self.scores_VK.grad).detach()
        return {"grad_norm": Mean(1.0, 1.0)}


def table(*scores: float) -> Table:
    """The score of token 0, 1, 2, ..."""
    return Table(torch.tensor(scores, dtype=torch.float64)[:, None])


def comparison(name: str, *answers: tuple[int, int, float]) -> Comparison:
    """Of each answer: its last token, its length and its grade. The other tokens are the prompt's."""
    rows = [Demonstration(name, (PROMPT,) * length + (token,), (0,) + (1,) * length) for token, length, _ in answers]
    return Comparison(name, tuple(rows), tuple(grade for *_, grade in answers))


def reward_model(**settings: Any) -> Method:
    return Method(Config(**settings), SamplingConfig(), pad_id=PROMPT)


def roles(model: Table) -> Roles:
    return Roles(reward_model=model)  # type: ignore[arg-type]


# Token: score. Pairs, as (score difference, length difference): (2, 3 - 1); (0, 2 - 4); in the ranking (-1, 0), (-3,
# -1), (-2, -1).
SCORES = (math.nan, 2.0, 0.0, 1.0, 1.0, 0.0, 1.0, 3.0)
HELD_OUT = (
    comparison("a", (1, 3, 1.0), (2, 1, 0.0)),
    comparison("b", (3, 2, 5.0), (4, 4, 1.0)),
    comparison("c", (6, 1, 1.0), (5, 1, 2.0), (7, 2, 0.0)),
)


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


MEASURED = {
    "loss": (softplus(-2) + math.log(2) + (softplus(1) + softplus(3) + softplus(2)) / 3) / 3,
    "accuracy": 1.5 / 5,
    "margin": (2 + 0 - 1 - 3 - 2) / 5,
    # Sigmoids of 2, 0, 1, 3, 2: 0.880797 (right), 0.5 (half right), 0.731059, 0.952574, 0.880797 (wrong).
    # In (0.8, 0.9]: 1 right of a summed 1.761594.
    "ece": (0.761594 + 0.0 + 0.731059 + 0.952574) / 5,
    # Products 4, 0, 0, 3, 2; squares of score differences 4, 0, 1, 9, 4, of length differences 4, 4, 0, 1, 1; these add
    # up to -2.
    "length_correlation": 9 / math.sqrt(18 * 10),
    "label_length_correlation": -2 / math.sqrt(5 * 10),
    # 2, 0, 1, 1, 0, 1, 3: mean 8/7, squares 16, so a variance of (16 - 64/7) / 6 = 8/7.
    "score_mean": 8 / 7,
    "score_std": math.sqrt(8 / 7),
}


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_held_out_measures_by_hand(batch_size: int):
    """Margin and centering are for training only."""
    measured = reward_model(batch_size=batch_size, margin=True, centering=1.0).measure(roles(table(*SCORES)), HELD_OUT)
    assert measured.metrics == pytest.approx(MEASURED, rel=1e-5)
    assert measured.score == -measured.metrics["loss"]


def test_an_ensemble_is_judged_by_its_mean_and_has_a_spread():
    """Two heads, half the grade above and below the score: a pair's differences are apart by the grades' difference, so
    their standard deviation is 1 / sqrt(2) of that. No head is bootstrapped when measured."""
    shift = torch.tensor([0, 1, 0, 5, 1, 2, 1, 0]) / 2
    model = Table(torch.tensor(SCORES, dtype=torch.float64)[:, None] + torch.stack([shift, -shift], dim=1))
    measured = reward_model(ensemble=2).measure(roles(model), HELD_OUT)
    assert measured.metrics == pytest.approx(MEASURED | {"spread": (1 + 4 + 1 + 2 + 1) / 5 / math.sqrt(2)}, rel=1e-5)
    assert Config(ensemble=2).facts.heads == 2


def test_soft_labels_are_measured_by_their_likelier_side():
    """The pairs of `HELD_OUT`, the first of them labelled with probability 3/4: only the loss knows, and it is the
    cross-entropy."""
    soft = (replace(HELD_OUT[0], preference=0.75), *HELD_OUT[1:])
    measured = reward_model().measure(roles(table(*SCORES)), soft)
    assert measured.metrics == pytest.approx(
        MEASURED | {"loss": MEASURED["loss"] + (0.25 * softplus(2) - 0.25 * softplus(-2)) / 3}, rel=1e-5
    )


def test_it_learns_how_sure_a_label_is():
    """Two tokens whose difference goes to log(0.75 / 0.25) = log 3, and then stays there."""
    rows = [replace(comparison("a", (1, 1, 1.0), (2, 1, 0.0)), preference=0.75)]
    model, one, stream = table(0.0, 0.0, 0.0), reward_model(batch_size=1), Stream(rows, 0, False)
    for number in range(1, 101):
        step = Step(number, number - 1, 0)
        one.learn(roles(model), one.collect(roles(model), stream, step), step)
    assert float(model.scores_VK[1] - model.scores_VK[2]) == pytest.approx(math.log(3))


def test_lengths_that_never_differ_correlate_with_nothing():
    rows = [comparison("a", (1, 2, 1.0), (2, 2, 0.0))]
    metrics = reward_model().measure(roles(table(*SCORES)), rows).metrics
    assert math.isnan(metrics["length_correlation"])
    assert math.isnan(metrics["label_length_correlation"])


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_scores_that_are_not_finite_stop_the_measure(number: float):
    with pytest.raises(
        RlsysError,
        match=r"held-out comparisons: 1 of 2 answers got scores that are not finite; lower policy\.learning_rate",
    ):
        reward_model().measure(roles(table(0.0, number, 1.0)), HELD_OUT[:1])


def test_learning_takes_the_loss_that_the_config_asks_for():
    model = table(0.0, 0.5, 1.0)
    rows = [comparison("a", (1, 1, 3.0), (2, 2, 1.0))]

    def learned(**settings: Any) -> dict[str, float]:
        one = reward_model(batch_size=1, **settings)
        return values(
            one.learn(roles(table(0.0, 0.5, 1.0)), one.collect(roles(model), Stream(rows, 0, False), STEP), STEP).stats
        )

    assert learned()["loss"] == pytest.approx(softplus(0.5))
    assert learned(margin=True)["loss"] == pytest.approx(softplus(0.5 + 2))
    assert learned(centering=0.1)["loss"] == pytest.approx(softplus(0.5) + 0.1 * 1.5**2)


def test_it_learns_what_is_better_from_whole_comparisons():
    """Rankings in any order: tokens 1, 2, 3 are better in this order. One step of every batch sees all answers of its
    comparisons."""
    rows = [comparison(f"{i}", (2, 1, 1.0), (3 if i % 2 else 1, 2, -1.0 if i % 2 else 2.0)) for i in range(6)]
    rows.append(comparison("6", (3, 1, 0.0), (1, 3, 2.0), (2, 1, 1.0)))
    model, one, stream = table(0.0, 0.0, 0.0, 0.0), reward_model(batch_size=3), Stream(rows, 0, True)
    assert isinstance(one, Measures)
    assert one.config.facts.makes == "reward model"
    before = one.measure(roles(model), rows)
    for number in range(1, 8):
        step = Step(number, number - 1, 0)
        one.learn(roles(model), one.collect(roles(model), stream, step), step)
    assert all(len(batch.units()) == 3 for batch in model.seen)
    assert sum(len(batch) for batch in model.seen) == 3 * (6 * 2 + 3)  # three epochs
    after = one.measure(roles(model), rows)
    assert (before.metrics["accuracy"], after.metrics["accuracy"]) == (0.5, 1.0)
    assert before.score == pytest.approx(-math.log(2))
    assert after.score > before.score
