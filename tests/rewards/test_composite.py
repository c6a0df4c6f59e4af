from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.one_by_one import one_by_one

from rlsys.config.actors import RewardSpec, ScoringConfig
from rlsys.errors import ConfigError
from rlsys.rewards import named
from rlsys.rewards.composite import WeightedSum
from rlsys.samples import Abstention, Score


@pytest.fixture(autouse=True)
def _in_the_users_folder(monkeypatch: pytest.MonkeyPatch):
    """A dotted path is found from the working folder."""
    monkeypatch.chdir(Path(__file__).parent)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


@pytest.fixture
def weighted() -> Iterator[Callable[..., WeightedSum]]:
    made: list[WeightedSum] = []

    def make(*specs: dict, **scoring: Any) -> WeightedSum:
        config = ScoringConfig(**{"timeout": 20.0, "processes": 1, **scoring})
        made.append(WeightedSum([RewardSpec(**spec) for spec in specs], config))
        return made[-1]

    yield make
    for rewards in made:
        rewards.close()


def test_the_value_is_the_weighted_sum_and_parts_are_unweighted(weighted, sample):
    rewards = weighted(
        {"name": "exact_match"},
        {"name": "format", "weight": -0.5, "args": {"regex": "2"}},
        {"name": "format", "weight": 0.25, "args": {"tags": ["a"]}},
        {"name": "my_rewards.length", "weight": 0.1, "args": {"scale": 2}},
        {"name": "my_rewards.Keyword", "weight": 10, "args": {"word": "zz"}},
        {"name": "my_package.constant", "label": "gift", "weight": 0.01, "args": {"bonus": 2.0}},
    )
    results = one_by_one(rewards, [sample("12", "12"), sample("1", "12")])
    scores = [result for result in results if isinstance(result, Score)]
    assert [score.value for score in scores] == pytest.approx(
        [1 - 0.5 + 0 + 0.1 * 4 + 0 + 0.01 * 3, 0 + 0 + 0 + 0.1 * 2 + 0 + 0.01 * 3]
    )
    assert scores[0].parts == {
        "exact_match": 1.0,
        "format": 1.0,
        "format.2": 0.0,
        "my_rewards.length": 4.0,
        "my_rewards.Keyword": 0.0,
        "my_rewards.Keyword.words": 1.0,
        "gift": 3.0,
    }


def test_a_missing_part_makes_the_whole_missing(weighted, sample):
    rewards = weighted({"name": "my_rewards.length"}, {"name": "exact_match"})
    results = one_by_one(rewards, [sample("ab", None), sample("ab", "ab")])
    assert results == [
        Abstention("exact_match: the prompt has no ground truth"),
        Score(3.0, {"my_rewards.length": 2.0, "exact_match": 1.0}),
    ]


def test_a_crash_or_a_strange_result_is_an_abstention_with_the_reason(weighted, sample):
    assert one_by_one(weighted({"name": "my_rewards.crashes"}), [sample("x")]) == [
        Abstention("my_rewards.crashes: RuntimeError: no such thing")
    ]
    assert one_by_one(
        weighted({"name": "my_rewards.odd"}),
        [sample(text) for text in ("nan", "text", "none", "true", "leaves", "absent")],
    ) == [
        Abstention("my_rewards.odd: returned nan"),
        Abstention("my_rewards.odd: returned str, not a number, Score or Abstention"),
        Abstention("my_rewards.odd: returned NoneType, not a number, Score or Abstention"),
        Score(1.0, {"my_rewards.odd": 1.0}),
        Abstention("my_rewards.odd: do not know"),
        Abstention("my_rewards.odd: KeyError: 'absent'"),
    ]


def test_math_is_one_of_them_and_closing_ends_its_processes(weighted, sample):
    rewards = weighted({"name": "math", "args": {"processes": 1}})
    assert one_by_one(rewards, [sample("$1+x$", "x+1"), sample("5", "4")]) == [
        Score(1.0, {"math": 1.0}),
        Score(0.0, {"math": 0.0}),
    ]
    rewards.close()
    assert one_by_one(rewards, [sample("$1+x$", "x+1")]) == [Abstention("math: the worker was gone")]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "exakt_match"}, "exact_match"),
        (
            {"name": "exact_match", "args": {"stripp": True}},
            "reward 'exact_match': args.stripp: Extra inputs are not permitted",
        ),
        ({"name": "my_package.constant", "args": {"bonus": "much"}}, "args.bonus: Input should be a valid number"),
        (
            {"name": "my_rewards.length", "args": {"size": 1}},
            "does not take \\(prompt, trajectory\\) with args {'size': 1}",
        ),
        ({"name": "my_rewards.Keyword"}, "does not take \\(\\) with args {}: missing a required argument: 'word'"),
        ({"name": "my_rewards.NUMBER"}, "int is neither a module with Config and Reward, nor a class, nor a function"),
        ({"name": "my_rewards.nothing"}, "nothing"),
    ],
)
def test_rewards_that_can_not_be_made(spec: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        named.check(RewardSpec(**spec))


def test_the_process_of_an_own_reward_says_why_it_can_not_be_made(weighted):
    with pytest.raises(ConfigError, match=r"^reward 'my_rewards.Keyword' does not take \(\) with args"):
        weighted({"name": "my_rewards.Keyword"})
    with pytest.raises(ConfigError, match=r"^reward 'my_rewards.Broken': OSError: no model here$"):
        weighted({"name": "my_rewards.Broken"})


def test_no_reward_at_all(weighted):
    with pytest.raises(ConfigError, match="rewards: none is given"):
        weighted()
