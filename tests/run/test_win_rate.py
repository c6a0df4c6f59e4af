from pathlib import Path

import pytest
from support.fakes import prompt, trajectory

from rlsys.run.ledger import Ledger
from rlsys.run.win_rate import win_rate
from rlsys.samples import Abstention, RewardResult, Sample, Score, ScoredGroup


def group(step: int, name: str, *values: float | None, mode: str = "sampled", part: str = "gold") -> ScoredGroup:
    samples = tuple(trajectory(name, index, [1], [-1.0], tag=f"eval-{mode}-{step}") for index in range(len(values)))
    results: tuple[RewardResult, ...] = tuple(
        Abstention("down") if value is None else Score(-value, {part: value}) for value in values
    )
    return ScoredGroup(prompt(name), samples, results)


@pytest.fixture
def start(tmp_path: Path) -> list[Sample]:
    groups = [
        group(0, "better", 1.0, 2.0),
        group(0, "worse", 3.0, 2.0),
        group(0, "tied", 1.0, 3.0),
        group(0, "unscored then", None, None),
        group(0, "unscored now", 1.0),
        group(0, "gone", 1.0),
        group(0, "better", 100.0, mode="greedy"),
    ]
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.record(0, groups, {}, "eval")
        return ledger.samples(0, "eval")


NOW = [
    group(9, "better", 2.0, None),
    group(9, "worse", 0.0, 4.0),
    group(9, "tied", 2.0),
    group(9, "unscored then", 5.0),
    group(9, "unscored now", None),
    group(9, "worse", 100.0, mode="greedy"),
]


def test_means_of_prompts_scored_on_both_sides_are_compared(start: list[Sample]):
    """1.5 -> 2 wins, 2.5 -> 2 loses, 2 -> 2 counts half; greedy answers and prompts without scores take no part."""
    assert win_rate(NOW, start, "gold") == 0.5
    assert win_rate([*NOW[:1], *NOW[2:]], start, "gold") == 0.75


def test_the_whole_reward_is_compared_where_no_part_is_named(start: list[Sample]):
    """Here it is the negative of its part, so that the win is a loss."""
    assert win_rate([*NOW[:1], *NOW[2:]], start, None) == 0.25


def test_what_differs_by_rounding_is_a_tie(start: list[Sample]):
    assert win_rate([group(9, "tied", 2.0 + 1e-12)], start, "gold") == 0.5
    assert win_rate([group(9, "tied", 2.0 + 1e-6)], start, "gold") == 1.0


def test_nothing_to_compare_is_no_rate(start: list[Sample]):
    assert win_rate(NOW, [], "gold") is None
    assert win_rate(NOW, start, "other") is None
    assert win_rate([group(9, "better", 2.0, part="other")], start, "gold") is None
