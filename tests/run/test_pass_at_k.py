"""pass@k and maj@k against every way to draw k of n samples."""

from __future__ import annotations

from itertools import combinations
from statistics import fmean

import pytest
from support.fakes import prompt
from support.scripted_sampler import sample

from rlsys.config.answers import AnswerPlaces
from rlsys.run.pass_at_k import majority, measured, pass_at_k
from rlsys.samples import Abstention, RewardResult, Score, ScoredGroup

ANYWHERE = AnswerPlaces()
AFTER_EQUALS = AnswerPlaces(answer_after="=")


@pytest.mark.parametrize("n", range(1, 8))
def test_pass_at_k_is_the_mean_over_all_subsets(n: int):
    for c in range(n + 1):
        right = [index < c for index in range(n)]
        for k in range(1, n + 1):
            drawn = [any(right[index] for index in subset) for subset in combinations(range(n), k)]
            assert pass_at_k(n, c, k) == pytest.approx(fmean(drawn), abs=1e-12), (n, c, k)


def test_pass_at_k_by_hand():
    assert pass_at_k(4, 1, 1) == 0.25
    assert pass_at_k(4, 1, 2) == 0.5  # 1 - C(3, 2) / C(4, 2) = 1 - 3/6
    assert pass_at_k(4, 3, 2) == 1.0
    with pytest.raises(AssertionError, match="pass@5 of 1 right ones among 4"):
        pass_at_k(4, 1, 5)


@pytest.mark.parametrize(
    ("answers", "right", "expected"),
    [
        (["7", "7", "8"], [True, True, False], 1.0),
        (["8", "8", "7"], [False, False, True], 0.0),
        (["7", "8"], [True, False], 0.5),  # equally frequent: either is drawn
        (["7", "8", "9", None, None, None], [True, False, False, False, False, False], 1 / 3),  # None casts no vote
        (["7", "7"], [False, True], 1.0),  # one sample got there rightly, so the answer is right
        ([None, None], [False, False], 0.0),
        ([], [], 0.0),
    ],
)
def test_the_most_frequent_answer_decides(answers: list[str | None], right: list[bool], expected: float):
    assert majority(answers, right) == pytest.approx(expected)


def group(name: str, truth: str | None, *samples: tuple[str, float | None]) -> ScoredGroup:
    asked = prompt(name) if truth is None else prompt(name, truth)
    results: list[RewardResult] = [Abstention("down") if score is None else Score(score) for _, score in samples]
    return ScoredGroup(
        asked, tuple(sample(asked, index, text, "t") for index, (text, _) in enumerate(samples)), tuple(results)
    )


def right(score: Score) -> bool:
    return score.value >= 1


def test_means_over_prompts_and_abstentions_leave_n():
    groups = [
        group("a", "5", ("=5", 1), ("=5", 0), ("=6", 0), ("=6", None)),  # one of three
        group("b", "7", ("=8", 0), ("=8", 0), ("=7", 0), ("=7", None)),  # none of three; 8 has most votes
        group("c", "9", ("=9", 1), ("=9", None), ("=9", None), ("=9", None)),  # one of one
        group("d", "9", ("=9", None), ("=9", None), ("=9", None), ("=9", None)),
    ]
    assert measured(groups, right, (1, 2, 4), True, AFTER_EQUALS) == pytest.approx(
        {
            "pass@1": (1 / 3 + 0 + 1) / 3,
            "unscored@1": 1,
            "pass@2": (2 / 3 + 0) / 2,  # 1 - C(2, 2) / C(3, 2)
            "unscored@2": 2,
            "unscored@4": 4,
            "maj@4": (1 + 0 + 1) / 3,
            "unscored@maj": 1,
        }
    )


def test_an_answer_that_is_the_known_one_is_right_whatever_led_to_it():
    groups = [group("a", "2+3=5", ("1+3=5", 0), ("2+2=5", 0), ("2+3=6", 0))]
    assert measured(groups, right, (1,), True, AFTER_EQUALS) == {"pass@1": 0, "maj@3": 1}
    # The ground truth may be cut already.
    assert measured([group("a", "5", ("x=5", 0))], right, (), True, AFTER_EQUALS) == {"maj@1": 1}
    assert measured([group("a", "1,200", ("so 1200.0", 0))], right, (), True, ANYWHERE) == {"maj@1": 1}
    assert measured([group("a", r"thus \boxed{5} of 6", ("5", 0))], right, (), True, ANYWHERE) == {"maj@1": 1}


@pytest.mark.parametrize("truth", ["x^2 + 1", r"\frac{2}{1}"])
def test_the_last_number_of_a_known_formula_is_not_the_known_answer(truth: str):
    assert measured([group("a", truth, (r"\boxed{1}", 0))], right, (), True, ANYWHERE) == {"maj@1": 0}
    assert measured([group("a", truth, (rf"\boxed{{{truth}}}", 0))], right, (), True, ANYWHERE) == {"maj@1": 1}


def test_equal_answers_vote_together_however_they_are_written():
    numbers = group("a", "7", ("so 1,200.0", 0), (r"\boxed{1200}", 0), (r"\$1{,}200 a day", 0), ("7", 1), ("7", 1))
    letters = group("b", "A", ("The answer is (B).", 0), (r"\boxed{B}", 0), ("B) 12", 0), ("A", 1), ("A", 1))
    for one in (numbers, letters):
        assert measured([one], right, (), True, ANYWHERE) == {"maj@5": 0}


def test_a_vote_is_right_by_the_same_rule_that_rewards_compare_by():
    groups = [group("a", r"\frac{1}{2}", (r"\boxed{0.5}", 0), (r"\boxed{\frac{2}{4}}", 0), (r"\boxed{2}", 0))]
    assert measured(groups, right, (), True, ANYWHERE) == {"maj@3": 1}


def test_without_a_majority_nothing_is_voted_on():
    assert measured([group("a", "5", ("x=5", 0))], right, (), False, AFTER_EQUALS) == {}
