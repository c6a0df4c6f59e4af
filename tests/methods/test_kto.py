from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from support.fakes import FrozenSoftmax, SoftmaxPolicy

from rlsys.config.sampling import SamplingConfig
from rlsys.data.labelled import Labelled
from rlsys.data.load import Demonstration
from rlsys.data.stream import Stream
from rlsys.errors import DataError
from rlsys.methods.base import Measures, Step
from rlsys.methods.kto import Config, Method, mismatched
from rlsys.objectives.stats import values
from rlsys.roles import Roles

REFERENCE = torch.log(torch.tensor([0.4, 0.3, 0.2, 0.1]))
R1, R2, R3 = (math.log(0.25 / p) for p in (0.3, 0.2, 0.1))


def labelled(row_id: str, prompt: tuple[int, ...], answer: tuple[int, ...], desirable: bool) -> Labelled:
    mask = (0,) * len(prompt) + (1,) * len(answer)
    return Labelled(row_id, Demonstration(row_id, (*prompt, *answer), mask), desirable)


# Two pairs, and an answer that stands alone.
ROWS = [
    labelled("a", (0, 1), (1, 2), True),
    labelled("a", (0, 1), (3,), False),
    labelled("b", (0, 2), (1,), True),
    labelled("b", (0, 2), (2, 3), False),
    labelled("c", (0, 3), (1,), True),
]


def kto(**settings: Any) -> Method:
    return Method(Config(**{"batch_size": 5, "beta": 0.5, **settings}), SamplingConfig(), pad_id=0)


def roles(policy: SoftmaxPolicy) -> Roles:
    return Roles(policy=policy, reference=FrozenSoftmax(REFERENCE))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_an_answer_goes_after_the_next_prompt_that_is_another():
    found = mismatched(ROWS, max_tokens=4)
    assert [row.token_ids for row in found] == [(0, 2, 1, 2), (0, 2, 3), (0, 3, 1), (0, 3, 2, 3), (0, 1, 1)]
    assert [row.loss_mask for row in found] == [(0, 0, 1, 1), (0, 0, 1), (0, 0, 1), (0, 0, 1, 1), (0, 0, 1)]


def test_a_mismatched_answer_is_cut_to_the_longest_row_allowed():
    rows = [labelled("a", (0, 1, 1), (2,), True), labelled("b", (0,), (3, 3, 3), False)]
    assert [(row.token_ids, row.loss_mask) for row in mismatched(rows, 4)] == [
        ((0, 2), (0, 1)),
        ((0, 1, 1, 3), (0, 0, 0, 1)),
    ]


def test_one_prompt_alone_has_no_reference_point():
    with pytest.raises(DataError, match="the 2 answers from a on share one prompt"):
        mismatched(ROWS[:2], 4)


def test_measures_by_hand():
    """This policy looks at no prompt, so mismatched answers have the log-ratios of matched ones, whose mean is the
    reference point."""
    ratios = [R1 + R2, R3, R1, R2 + R3, R1]
    z0 = sum(ratios) / 5
    assert z0 > 0
    signs = [1, -1, 1, -1, 1]
    h = [0.5 * sign * (ratio - z0) for sign, ratio in zip(signs, ratios, strict=True)]
    measured = kto().measure(roles(SoftmaxPolicy()), ROWS)
    assert measured.metrics["loss"] == pytest.approx(sum(1 - sigmoid(value) for value in h) / 5, rel=1e-5)
    assert measured.metrics["accuracy"] == sum(value > 0 for value in h) / 5
    assert measured.metrics["pair_accuracy"] == ((R1 + R2 > R3) + (R1 > R2 + R3)) / 2
    assert measured.metrics["margin"] == pytest.approx(0.5 * (R1 + R2 - R3 + R1 - R2 - R3) / 2, rel=1e-5)
    assert measured.score == -measured.metrics["loss"]


def test_without_pairs_no_pair_accuracy_is_measured():
    assert "pair_accuracy" not in kto().measure(roles(SoftmaxPolicy()), [ROWS[0], *ROWS[3:]]).metrics


def test_it_learns_the_labels():
    method, policy = kto(), SoftmaxPolicy(learning_rate=3.0)
    assert isinstance(method, Measures)
    assert method.config.facts.needs == {"policy", "reference"}
    own, source = roles(policy), Stream(ROWS, seed=0, shuffle=True)
    before = method.measure(own, ROWS).metrics
    points = []
    for number in range(1, 61):
        step = Step(number, number - 1, 0)
        points.append(values(method.learn(own, method.collect(own, source, step), step).stats)["reference_point"])
    after = method.measure(own, ROWS).metrics
    assert after["loss"] < before["loss"]
    assert after["pair_accuracy"] == 1 > before["pair_accuracy"]
    assert after["desirable_reward"] > before["desirable_reward"]
    # Before the first step: the mean log-ratio of the five answers under a uniform policy.
    assert points[0] == pytest.approx((R1 + R2 + R3 + R1 + R2 + R3 + R1) / 5, rel=1e-5)


@pytest.mark.parametrize("batch_size", [2, 4, 5])
def test_what_is_measured_does_not_depend_on_where_a_chunk_ends(batch_size: int):
    """Three pairs in a row: chunks of two and four end in, or are, two answers to one prompt; the last of five is a
    single answer."""
    rows = [*ROWS, labelled("c", (0, 3), (2,), False)]
    wanted = kto(batch_size=6).measure(roles(SoftmaxPolicy()), rows).metrics
    assert kto(batch_size=batch_size).measure(roles(SoftmaxPolicy()), rows).metrics == pytest.approx(wanted)
