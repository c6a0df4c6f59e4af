"""The over-optimisation curve: what is computed from the runs. The command as a whole is in test_smoke.py."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from benchmarks.over_optimization.__main__ import STAGES, settings
from benchmarks.over_optimization.curves import (
    GOLD,
    PROXY,
    Point,
    Sampled,
    Scale,
    best_of_n,
    best_of_n_curve,
    best_of_n_kl,
    frontier_gap,
    turning_point,
)
from benchmarks.over_optimization.data import write
from rlsys.check.recipe import load_recipe
from rlsys.files import read_lines
from rlsys.playground.letters import gold

BY_PROXY, BY_GOLD = (0.3, 0.1, 0.9, 0.4), (5.0, 2.0, -1.0, 8.0)
"""From worst to best by proxy, gold is 2, 5, 8, -1."""


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (1, 3.5),  # the mean of all four
        (2, (1 * 5 + 2 * 8 + 3 * -1) / 6),  # best of the six pairs: 5 once, 8 twice, -1 three times
        (3, (1 * 8 + 3 * -1) / 4),  # of the four triples: 8 once, -1 three times
        (4, -1.0),
    ],
)
def test_best_of_n_averages_over_all_subsets(n: int, expected: float) -> None:
    assert best_of_n(BY_PROXY, BY_GOLD, n) == pytest.approx(expected, rel=1e-12)


def test_best_of_n_of_many_samples_neither_overflows_nor_loses_weight() -> None:
    """Of N equally likely values 1..N the best of n has the mean n (N + 1) / (n + 1). C(4000, 2000) is beyond a
    float."""
    values = [float(value) for value in range(1, 4001)]
    assert best_of_n(values, values, 2000) == pytest.approx(2000 * 4001 / 2001, rel=1e-9)
    assert best_of_n(values, [1.0] * 4000, 2000) == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize("n", [0, 5])
def test_best_of_more_than_there_are_is_an_error(n: int) -> None:
    with pytest.raises(ValueError, match=f"best of {n} needs"):
        best_of_n(BY_PROXY, BY_GOLD, n)


def test_kl_of_best_of_n() -> None:
    assert best_of_n_kl(1) == 0.0
    assert best_of_n_kl(2) == pytest.approx(0.1931471806)  # ln 2 - 1/2
    assert best_of_n_kl(1024) == pytest.approx(5.9324483)  # 6.9314718 - 0.9990234


def test_the_proxy_is_put_on_the_axis_of_gold() -> None:
    """Mean 2 and deviation 1 become mean 10 and deviation 3."""
    scale = Scale.of([1.0, 3.0], [7.0, 13.0])
    assert (scale(2.0), scale(3.0), scale(0.0)) == pytest.approx((10.0, 13.0, 4.0))


def test_the_turning_point_is_the_first_highest_gold() -> None:
    curve = [Point(0.0, 1.0, 1.0, 0), Point(2.0, 4.0, 5.0, 5), Point(3.0, 4.0, 6.0, 10), Point(5.0, -1.0, 9.0, 15)]
    assert turning_point(curve) == curve[1]


def test_the_curve_of_best_of_n_is_the_mean_over_prompts() -> None:
    """Two prompts; one lost a sample, so that n ends at 2. The second's gold falls with its proxy, 0, 1, 2 against 6,
    3, 0: of its pairs the best by proxy is worth 3 once and 0 twice."""
    prompts = [Sampled(BY_PROXY, BY_GOLD), Sampled((0.0, 1.0, 2.0), (6.0, 3.0, 0.0))]
    one, two = best_of_n_curve(prompts, Scale(0.0, 2.0))
    assert (one.at, one.kl, one.gold) == (1, 0.0, (3.5 + 3.0) / 2)
    assert (two.at, two.gold) == (2, pytest.approx((3.0 + 1.0) / 2))
    assert two.kl == pytest.approx(math.log(2) - 0.5)
    assert two.proxy == pytest.approx(2 * ((0.3 + 2 * 0.4 + 3 * 0.9) / 6 + (1 + 2 + 2) / 3) / 2)


def test_the_gap_of_two_curves_is_taken_at_equal_kl() -> None:
    """At KL 1 and 3 the other curve is at 2 and 5; KL 9 is beyond it. Its points come in any order."""
    other = [Point(0.0, 0.0, 0.0, 0), Point(4.0, 6.0, 0.0, 2), Point(2.0, 4.0, 0.0, 1)]
    curve = [Point(1.0, 2.5, 0.0, 0), Point(3.0, 4.0, 0.0, 1), Point(9.0, 100.0, 0.0, 2)]
    assert frontier_gap(curve, other) == pytest.approx((0.5 - 1.0) / 2)
    with pytest.raises(ValueError, match="share no KL"):
        frontier_gap(curve[2:], other)


def test_demonstrations_are_sometimes_too_long_and_comparisons_never(tmp_path: Path) -> None:
    files = write(tmp_path, seed=3)
    for name, share in (("base", 0.1), ("sft", 0.02)):
        lengths = [len(json.loads(line)["answer"]) for line in read_lines(files[name])]
        assert len(lengths) == 2267 * 16
        assert sum(length > 6 for length in lengths) / len(lengths) == pytest.approx(share, abs=0.005)
        assert set(lengths) == set(range(1, 13))
    pairs = [json.loads(line) for line in read_lines(files["comparisons_train"])]
    assert {len(pair[side]) for pair in pairs for side in ("chosen", "rejected")} == set(range(1, 7))
    assert all(gold(pair["letters"], pair["chosen"]) > gold(pair["letters"], pair["rejected"]) for pair in pairs)


def test_the_recipe_is_valid_and_its_files_are_used(tmp_path: Path) -> None:
    """Also with --quick, whose overrides name stages. Only the PPO stages differ, and only in their KL penalty."""
    for quick in (False, True):
        _, experiments = load_recipe(STAGES, settings(3, tmp_path, quick))
        base, sft, reward_model, best_of_n, low, high = experiments
        for trained in (base, sft, reward_model):
            assert trained.data.train is not None
            assert Path(trained.data.train.path).is_file()
        assert [experiment.seed for experiment in experiments] == [3] * 6
        assert best_of_n.method.answers == (8 if quick else 4096)
        for measured in (best_of_n, low, high):
            assert [reward.label for reward in measured.rewards] == [GOLD]
            assert [model.name for model in measured.reward_models] == [PROXY]
        assert low.method.kl_coef < high.method.kl_coef
        same = {"name": "ppo", "method": low.method}
        assert low.model_copy(update=same) == high.model_copy(update=same)
        assert low.method == high.method.model_copy(update={"kl_coef": low.method.kl_coef})
