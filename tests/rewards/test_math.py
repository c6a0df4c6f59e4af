import time
from dataclasses import replace

import pytest
from support.answer_cases import CASES

from rlsys.rewards.math import Config, Reward, truth_problem
from rlsys.samples import Abstention, Score


@pytest.fixture(scope="module")
def reward():
    """Its process has started, so that a test measures a call alone."""
    reward = Reward(Config(processes=1))
    reward._computed("x+1", "1+x")
    yield reward
    reward.close()


@pytest.mark.parametrize("name", CASES)
def test_scores_agree_with_the_labels(reward, sample, name: str):
    assert sum(map(len, CASES.values())) >= 200
    wrong = [row for row in CASES[name] if reward.score(*sample(row[1], row[0])) != Score(float(row[2]))]
    assert wrong == []


def test_what_can_not_be_checked_has_no_score(reward, sample):
    assert reward.score(*sample("1", None)) == Abstention("the prompt has no ground truth")
    assert reward.score(*sample("1", r"\frac{")) == Abstention(
        r"the ground truth '\\frac{' has a bracket that is not closed"
    )
    assert truth_problem(sample("", r"\frac{")[0], Config()) == "has a bracket that is not closed"
    assert truth_problem(sample("", "1")[0], Config()) is None


@pytest.mark.parametrize(
    "response",
    [
        r"10^{10^{10}}",
        r"9^{9^{9^{9}}}",
        "10^10^10",
        "10**(10**10)",
        r"(x+1)^{10000000}",
        r"100000000!",
        r"(5!)!",
        r"\binom{1000000}{500000}",
        r"\sum_{i=1}^{10^9} i",
        r"\lfloor x^{9999} \rfloor",
        r"\exp(\exp(\exp(\exp(10))))",
        r"\pi \approx " * 40 + "3",
        "9" * 900 + "x",
        "9" * 10_000,
        "(" * 400 + "x" + ")" * 400,
        r"\frac{1}{" * 80 + "x" + "}" * 80,
    ],
)
def test_a_large_answer_is_wrong_and_costs_next_to_nothing(reward, sample, response: str):
    for truth in ("5", "x+1"):
        began = time.perf_counter()
        assert reward.score(*sample(rf"\boxed{{{response}}}", truth)) == Score(0.0)
        assert time.perf_counter() - began < 1


@pytest.mark.parametrize(
    "response", [r"(10^{9999})^{9999}", r"e^{e^{e}}", r"((x+1)^{9999})^{9999}", r"\sin(10^{9999})"]
)
def test_a_formula_with_large_numbers_is_computed_without_their_digits(reward, sample, response: str):
    assert reward.score(*sample(rf"\boxed{{{response}}}", "5")) == Score(0.0)


def test_places_and_tolerance_are_settings(sample):
    strict = Reward(Config(answer_after="####", answer_places=("marker",), tolerance=0.02, rounded=False, processes=1))
    try:
        assert strict.score(*sample(r"\boxed{5}", "5")) == Score(0.0)
        assert strict.score(*sample("#### 5", "worked out\n#### 5")) == Score(1.0)
        assert strict.score(*sample("#### 9.9 m", "9.81 m")) == Score(1.0)
        assert strict.score(*sample("#### 9.5 m", "9.81 m")) == Score(0.0)
    finally:
        strict.close()


def test_a_thought_that_the_prompt_began_and_nothing_ended_is_no_answer(reward, sample):
    prompt, trajectory = sample("maybe 18", "18")
    assert reward.score(prompt, trajectory) == Score(1.0)
    assert reward.score(replace(prompt, text=f"{prompt.text}<think>\n"), trajectory) == Score(0.0)


def test_a_pair_that_takes_too_long_has_no_score(sample):
    hasty = Reward(Config(time_limit=1e-5, processes=1))
    try:
        assert hasty.score(*sample(r"\boxed{1+x}", "x+1")) == Abstention("timed out after 1e-05 s")
        assert hasty.score(*sample(r"\boxed{1}", "1")) == Score(1.0)
    finally:
        hasty.close()
