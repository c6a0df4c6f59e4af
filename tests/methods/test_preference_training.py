from __future__ import annotations

import math
from typing import Any, get_args

import pytest
import torch
from support.fakes import FrozenSoftmax, SoftmaxPolicy

from rlsys.config.sampling import SamplingConfig
from rlsys.data.load import Comparison, Demonstration
from rlsys.data.stream import Stream
from rlsys.errors import ConfigError
from rlsys.methods.base import Measures, Step
from rlsys.methods.shared.preference_training import Config, Method
from rlsys.objectives.preference_loss import PreferenceKind
from rlsys.objectives.stats import values
from rlsys.roles import Roles

STEP = Step(1, 0, 0)
REFERENCE = torch.log(torch.tensor([0.4, 0.3, 0.2, 0.1]))


def answer(name: str, tokens: tuple[int, ...]) -> Demonstration:
    return Demonstration(name, (0, *tokens), (0, *[1] * len(tokens)))


def comparison(name: str, chosen: tuple[int, ...], rejected: tuple[int, ...], preference: float = 1.0) -> Comparison:
    return Comparison(name, (answer(name, chosen), answer(name, rejected)), (1.0, 0.0), preference)


ROWS = [comparison("a", (1, 2), (3,)), comparison("b", (1,), (2, 3)), comparison("c", (1, 1), (2,))]


def stage(**settings: Any) -> Method:
    return Method(Config(**{"batch_size": 3, **settings}), SamplingConfig(), pad_id=0)


def roles(policy: SoftmaxPolicy, reference: bool = True) -> Roles:
    return Roles(policy=policy, reference=FrozenSoftmax(REFERENCE) if reference else None)


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


# log pi - log ref with a uniform policy: of token 1 log(0.25 / 0.3), of 2 log(0.25 / 0.2), of 3 log(0.25 / 0.1).
R1, R2, R3 = (math.log(0.25 / p) for p in (0.3, 0.2, 0.1))
GAPS = (R1 + R2 - R3, R1 - R2 - R3, R1 + R1 - R2)


def test_it_measures_what_it_trains():
    """Batches of two and of one are merged."""
    measured = stage(beta=0.5, batch_size=2).measure(roles(SoftmaxPolicy()), ROWS)
    assert measured.metrics["loss"] == pytest.approx(sum(softplus(-0.5 * gap) for gap in GAPS) / 3, rel=1e-5)
    assert measured.metrics["margin"] == pytest.approx(sum(0.5 * gap for gap in GAPS) / 3, rel=1e-5)
    assert measured.metrics["accuracy"] == sum(gap > 0 for gap in GAPS) / 3
    assert measured.metrics["chosen_log_prob"] == pytest.approx(5 / 3 * math.log(0.25))
    assert measured.score == -measured.metrics["loss"]


def test_a_step_is_gradient_descent_on_the_loss():
    """The derivative by the logit of token 1, by hand: of each pair -beta sigmoid(-beta gap) x (how much more often 1
    is in the chosen answer, less 0.25 for each token that it is longer by)."""
    algorithm, policy = stage(beta=0.5), SoftmaxPolicy(learning_rate=1.0)
    experience = algorithm.collect(roles(policy), Stream(ROWS, seed=0, shuffle=False), STEP)
    learned = values(algorithm.learn(roles(policy), experience, STEP).stats)
    assert learned["loss"] == pytest.approx(sum(softplus(-0.5 * gap) for gap in GAPS) / 3, rel=1e-5)
    more = (1 - 0.25, 1 + 0.25, 2 - 0.25)
    slopes = [0.5 / (1 + math.exp(0.5 * gap)) * by for gap, by in zip(GAPS, more, strict=True)]
    assert float(policy.logits[1].detach()) == pytest.approx(sum(slopes) / 3, rel=1e-5)


@pytest.mark.parametrize("kind", get_args(PreferenceKind))
def test_every_kind_learns_the_pairs_and_asks_for_a_reference_only_if_it_reads_it(kind: str):
    gamma = {"simpo": 0.5}.get(kind, 0.0)
    algorithm = stage(kind=kind, beta=0.5, gamma=gamma, label_smoothing=0.1 if kind in ("cdpo", "robust") else 0.0)
    alone = kind in ("orpo", "simpo")
    assert algorithm.needs == ({"policy"} if alone else {"policy", "reference"})
    assert (algorithm.rows, algorithm.rows_per_step, isinstance(algorithm, Measures)) == ("comparisons", 3, True)
    policy, source = SoftmaxPolicy(learning_rate=0.3), Stream(ROWS, seed=0, shuffle=True)
    own = roles(policy, reference=not alone)
    before = method.measure(own, ROWS).metrics
    for number in range(1, 31):
        step = Step(number, number - 1, 0)
        algorithm.learn(own, algorithm.collect(own, source, step), step)
    after = method.measure(own, ROWS).metrics
    assert after["accuracy"] == 1 > before["accuracy"]
    assert after["margin"] > before["margin"]
    assert after["loss"] < before["loss"]


def test_reference_free_needs_none():
    assert stage(reference_free=True).needs == {"policy"}


def test_settings_that_mean_nothing_are_named():
    with pytest.raises(ConfigError, match=r"^method.label_smoothing: robust needs it"):
        stage(kind="robust").needs  # noqa: B018
