"""What dpo, cdpo, robust_dpo, slic, ipo, orpo and simpo share; each loss has tests of its own."""

from __future__ import annotations

import math
from typing import Any, get_args

import pytest
import torch
from pydantic import ValidationError
from support.fakes import FrozenSoftmax, SoftmaxPolicy

from rlsys.config.sampling import SamplingConfig
from rlsys.data.load import Comparison, Demonstration
from rlsys.data.stream import Stream
from rlsys.methods.base import Measures, Step
from rlsys.methods.shared.preference_training import PreferenceTraining
from rlsys.objectives.preference_loss import PreferenceKind
from rlsys.objectives.stats import values
from rlsys.registry import resolve
from rlsys.roles import Roles

STEP = Step(1, 0, 0)
REFERENCE = torch.log(torch.tensor([0.4, 0.3, 0.2, 0.1]))


def answer(name: str, tokens: tuple[int, ...]) -> Demonstration:
    return Demonstration(name, (0, *tokens), (0, *[1] * len(tokens)))


def comparison(name: str, chosen: tuple[int, ...], rejected: tuple[int, ...], preference: float = 1.0) -> Comparison:
    return Comparison(name, (answer(name, chosen), answer(name, rejected)), (1.0, 0.0), preference)


ROWS = [comparison("a", (1, 2), (3,)), comparison("b", (1,), (2, 3)), comparison("c", (1, 1), (2,))]


def training(name: str = "dpo", **settings: Any) -> PreferenceTraining:
    config = resolve("rlsys.methods", name, "Config").model_validate({"batch_size": 3, **settings})
    return resolve("rlsys.methods", name, "Method")(config, SamplingConfig(), 0)


def roles(policy: SoftmaxPolicy, reference: bool = True) -> Roles:
    return Roles(policy=policy, reference=FrozenSoftmax(REFERENCE) if reference else None)


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


# log pi - log ref with a uniform policy: of token 1 log(0.25 / 0.3), of 2 log(0.25 / 0.2), of 3 log(0.25 / 0.1).
R1, R2, R3 = (math.log(0.25 / p) for p in (0.3, 0.2, 0.1))
GAPS = (R1 + R2 - R3, R1 - R2 - R3, R1 + R1 - R2)


def test_it_measures_what_it_trains():
    """Batches of two and of one are merged."""
    measured = training(beta=0.5, batch_size=2).measure(roles(SoftmaxPolicy()), ROWS)
    assert measured.metrics["loss"] == pytest.approx(sum(softplus(-0.5 * gap) for gap in GAPS) / 3, rel=1e-5)
    assert measured.metrics["margin"] == pytest.approx(sum(0.5 * gap for gap in GAPS) / 3, rel=1e-5)
    assert measured.metrics["accuracy"] == sum(gap > 0 for gap in GAPS) / 3
    assert measured.metrics["chosen_log_prob"] == pytest.approx(5 / 3 * math.log(0.25))
    assert measured.score == -measured.metrics["loss"]


def test_a_step_is_gradient_descent_on_the_loss():
    """The derivative by the logit of token 1, by hand: of each pair -beta sigmoid(-beta gap) x (how much more often 1
    is in the chosen answer, less 0.25 for each token that it is longer by)."""
    method, policy = training(beta=0.5), SoftmaxPolicy(learning_rate=1.0)
    experience = method.collect(roles(policy), Stream(ROWS, seed=0, shuffle=False), STEP)
    learned = values(method.learn(roles(policy), experience, STEP).stats)
    assert learned["loss"] == pytest.approx(sum(softplus(-0.5 * gap) for gap in GAPS) / 3, rel=1e-5)
    more = (1 - 0.25, 1 + 0.25, 2 - 0.25)
    slopes = [0.5 / (1 + math.exp(0.5 * gap)) * by for gap, by in zip(GAPS, more, strict=True)]
    assert float(policy.logits[1].detach()) == pytest.approx(sum(slopes) / 3, rel=1e-5)


@pytest.mark.parametrize("name", get_args(PreferenceKind))
def test_each_method_learns_the_pairs_and_asks_for_a_reference_only_if_it_reads_it(name: str):
    gamma = {"simpo": 0.5}.get(name, 0.0)
    method = training(name, beta=0.5, gamma=gamma, label_smoothing=0.1 if name in ("cdpo", "robust_dpo") else 0.0)
    alone = name in ("orpo", "simpo")
    facts = method.config.facts
    assert (method.config.name, method.loss.kind) == (name, name)
    assert facts.needs == ({"policy"} if alone else {"policy", "reference"})
    assert (facts.rows, facts.rows_per_step, facts.measures) == ("comparisons", 3, True)
    assert isinstance(method, Measures)
    policy, source = SoftmaxPolicy(learning_rate=0.3), Stream(ROWS, seed=0, shuffle=True)
    own = roles(policy, reference=not alone)
    before = method.measure(own, ROWS).metrics
    for number in range(1, 31):
        step = Step(number, number - 1, 0)
        method.learn(own, method.collect(own, source, step), step)
    after = method.measure(own, ROWS).metrics
    assert after["accuracy"] == 1 > before["accuracy"]
    assert after["margin"] > before["margin"]
    assert after["loss"] < before["loss"]


def test_reference_free_needs_none():
    assert training(reference_free=True).config.facts.needs == {"policy"}


def test_settings_that_mean_nothing_are_named():
    with pytest.raises(ValidationError, match=r"Value error, label_smoothing: robust_dpo needs it"):
        training("robust_dpo", label_smoothing=0.0)


def test_defaults_that_the_shared_ones_would_leave_without_a_meaning():
    """A share of wrong labels for the two methods that reckon with it, and SimPO's beta of 2 with half of it as its
    margin; the others have DPO's."""
    plain, noisy = (0.1, 0.0, 0.0), (0.1, 0.0, 0.1)
    wanted = dict.fromkeys(("dpo", "slic", "ipo", "orpo"), plain) | {"cdpo": noisy, "robust_dpo": noisy}
    wanted["simpo"] = (2.0, 1.0, 0.0)
    losses = {name: training(name).loss for name in get_args(PreferenceKind)}
    assert {name: (loss.beta, loss.gamma, loss.label_smoothing) for name, loss in losses.items()} == wanted
