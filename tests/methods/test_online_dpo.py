from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from support.fakes import FrozenSoftmax, SoftmaxPolicy, make_roles, prompt, trajectory, unanswered

from rlsys.config.sampling import SamplingConfig
from rlsys.data.stream import Stream
from rlsys.errors import RlsysError
from rlsys.methods.base import Step
from rlsys.methods.online_dpo import BestAndWorst, Config, Method, Pairs, collate_pairs, pair_of
from rlsys.objectives.stats import values
from rlsys.roles import Roles
from rlsys.samples import Abstention, Score, ScoredGroup

STEP = Step(number=1, version=0, seed=0)
UNIFORM = math.log(0.25)


def online(**settings: Any) -> Method:
    return Method(
        Config.model_validate({"prompts_per_step": 4, "beta": 0.5, **settings}), SamplingConfig(max_tokens=4), 0
    )


def group(name: str, *samples: tuple[tuple[int, ...], float | None]) -> ScoredGroup:
    """Responses with their rewards; None abstains."""
    results = tuple(Abstention("down") if reward is None else Score(reward) for _, reward in samples)
    drawn = tuple(trajectory(name, i, tokens, [UNIFORM] * len(tokens)) for i, (tokens, _) in enumerate(samples))
    return ScoredGroup(prompt(name), drawn, results)


@pytest.mark.parametrize(
    ("samples", "wanted"),
    [
        ([((1,), 0.5), ((2,), 2.0), ((3,), -1.0)], (1, 2)),
        ([((1,), 2.0), ((2,), None), ((3,), 1.0), ((1,), 2.0)], (0, 2)),
        ([((1,), 1.0), ((2,), 1.0)], "tied"),
        ([((1,), 1.0), ((2,), None)], "unscored"),
        ([((1,), 1.0), ((1,), 0.0)], "equal"),
    ],
)
def test_the_best_against_the_worst(samples: list[Any], wanted: tuple[int, int] | str):
    made = pair_of(group("a", *samples))
    assert (made if isinstance(made, str) else (made.chosen.sample_index, made.rejected.sample_index)) == wanted


def pair(name: str, chosen: tuple[int, ...], rejected: tuple[int, ...]) -> BestAndWorst:
    made = pair_of(group(name, (chosen, 1.0), (rejected, 0.0)))
    assert isinstance(made, BestAndWorst)
    return made


def roles(policy: SoftmaxPolicy) -> Roles:
    return Roles(policy=policy, reference=FrozenSoftmax(torch.log(torch.tensor([0.4, 0.3, 0.2, 0.1]))))


def test_one_step_by_hand():
    """The log-ratios of tokens 1, 2 and 3 are log(.25 / .3), log(.25 / .2), log(.25 / .1); the logit of token 1 goes up
    by the mean over pairs of beta sigmoid(-beta gap) x (how much more often 1 is in the chosen answer, less 0.25 for
    each token that it is longer by)."""
    pairs = (pair("a", (1,), (2,)), pair("b", (3, 1), (2,)))
    policy = SoftmaxPolicy()
    learned = online().learn(roles(policy), Pairs(0, pairs=pairs), STEP)
    one, two, three = (math.log(0.25 / p) for p in (0.3, 0.2, 0.1))
    gaps = (one - two, three + one - two)
    slopes = [0.5 / (1 + math.exp(0.5 * gap)) * by for gap, by in zip(gaps, (1, 1 - 0.25), strict=True)]
    assert float(policy.logits[1].detach()) == pytest.approx(sum(slopes) / 2, rel=1e-5)
    assert values(learned.stats)["loss"] == pytest.approx(
        sum(math.log1p(math.exp(-0.5 * gap)) for gap in gaps) / 2, rel=1e-5
    )
    assert learned.advantages == {"t/a/0": 1.0, "t/a/1": -1.0, "t/b/0": 1.0, "t/b/1": -1.0}


def test_pairs_stay_together_in_mini_batches():
    """Five pairs in two mini-batches and two epochs: each optimizer step sees whole pairs (else the loss refuses), all
    of them once an epoch."""
    pairs = tuple(pair(f"p{n}", (1, 1 + n % 3), (2,)) for n in range(5))
    policy, method = SoftmaxPolicy(learning_rate=0.01), online(epochs=2, mini_batches=2)
    stats = method.learn(roles(policy), Pairs(0, pairs=pairs), STEP).stats
    assert (policy.updates, method.config.facts.updates_per_step) == (4, 4)
    assert stats["accuracy"].count == 10  # type: ignore[union-attr]
    batch = collate_pairs(pairs, 0)
    assert batch.units() == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]


def test_what_became_of_each_prompt_is_counted():
    """Of answers "0" to "3" the prompts' own are right; a prompt whose two samples are both right or both wrong makes
    no pair."""
    own = make_roles()
    assert own.weight_sync is not None
    own.weight_sync.sync(0)
    source = Stream([prompt(f"p{i}", str(i % 4)) for i in range(40)], seed=0, shuffle=False)
    collected = online(prompts_per_step=40, kind="simpo").collect(own, source, STEP)
    told = sum(len(set(group.scores)) == 2 for group in collected.groups)
    counts = {name: count for name, count in collected.metrics.items() if name.startswith("dataset/")}
    assert counts == {"dataset/pairs": told, "dataset/tied": 40 - told, "dataset/unscored": 0, "dataset/equal": 0}
    assert len(collected.pairs) == told > 0


def test_a_step_without_a_pair_changes_nothing():
    policy = SoftmaxPolicy()
    assert online().learn(roles(policy), Pairs(0), STEP).stats == {}
    assert policy.updates == 0


def test_nothing_scored_at_all_is_an_error():
    own = make_roles(unanswered)
    assert own.weight_sync is not None
    own.weight_sync.sync(0)
    with pytest.raises(RlsysError, match="judge down"):
        online().collect(own, Stream([prompt(f"p{i}") for i in range(4)], seed=0, shuffle=False), STEP)


def test_it_learns_the_answer():
    policy_roles = make_roles(learning_rate=0.5)
    own = Roles(**{**vars(policy_roles), "reference": FrozenSoftmax(torch.zeros(4))})
    assert own.weight_sync is not None
    method, source = (
        online(group_size=4, prompts_per_step=8),
        Stream([prompt(f"p{i}", "3") for i in range(8)], seed=0, shuffle=True),
    )
    for number in range(1, 31):
        own.weight_sync.sync(number - 1)
        step = Step(number, number - 1, 0)
        method.learn(own, method.collect(own, source, step), step)
    assert isinstance(own.policy, SoftmaxPolicy)
    assert float(own.policy.logits.detach().softmax(0)[3]) > 0.8


def test_roles_follow_the_kind_and_temperature_the_sampling():
    assert Config().facts.needs == {"policy", "rollout", "reward", "reference"}
    assert Config(kind="orpo").facts.needs == {"policy", "rollout", "reward"}
    assert Method(Config(), SamplingConfig(temperature=0.7), 0).loss.temperature == 0.7
    with pytest.raises(ValidationError, match=r"Value error, gamma: ipo asks for no margin"):
        Config(kind="ipo", gamma=1.0)
