"""Every number here was worked out by hand, from the probabilities in the test beside it."""

import math
from dataclasses import replace

import pytest

from rlsys.judging.auditing.quality import (
    abstentions,
    canaries_fail,
    commonest_abstention,
    judge_metrics,
    kinds,
    quality,
    run_quality,
)
from rlsys.judging.auditing.quality_rows import quality_rows
from rlsys.samples import Verdict


def verdict(
    name: str, kind: str, order: int, value: float | None, lengths: tuple[int, ...] = (5, 5), **more: object
) -> Verdict:
    ids = {"canary": (), "score": ("a",)}.get(kind, ("a", "b"))
    plain = Verdict(f"{name}/{kind}/{order}", kind, ids, None, "judge", "[]", "", {}, value, lengths=lengths)
    return replace(plain, **more)  # pyright: ignore[reportArgumentType]


def compared(
    name: str, first: float | None, second: float | None, lengths: tuple[int, int] = (5, 5), kind: str = "compare"
) -> list[Verdict]:
    """Both orders: P(shown first) in each; `lengths` of the answers as order 0 shows them. Of audits, order 0 shows the
    better one first."""
    known = kind in ("canary", "human")
    return [
        verdict(name, kind, 0, first, lengths, expected=1.0 if known else None),
        verdict(name, kind, 1, second, lengths[::-1], expected=0.0 if known else None),
    ]


def test_nothing_was_asked():
    assert judge_metrics([]) == {}


def test_what_there_is_nothing_to_tell_of_is_left_out():
    """A single score: no comparison, no audit; only the work is counted."""
    found = quality(
        [verdict("q", "score", 0, 0.5, (5,), seconds=2.0, prompt_tokens=30, completion_tokens=1, cost=0.25)]
    )
    assert found == {
        "verdicts": 1.0,
        "abstained": 0.0,
        "cached": 0.0,
        "cost": 0.25,
        "prompt_tokens": 30.0,
        "completion_tokens": 1.0,
        "latency_mean": 2.0,
        "latency_p95": 2.0,
    }


def test_order_bias_of_four_comparisons():
    """First wins twice (0.9, 0.6), second position twice (0.2, 0.4), the better answer whatever the order (0.8, 0.3),
    and a tie with 0.7."""
    asked = [*compared("a", 0.9, 0.6), *compared("b", 0.2, 0.4), *compared("c", 0.8, 0.3), *compared("d", 0.5, 0.7)]
    found = quality(asked)
    assert found["same_position_rate"] == 2 / 4
    # Means of the pairs: 0.75, 0.3, 0.55, 0.6; their mean is 0.55.
    assert found["order_bias"] == pytest.approx(0.05)


def test_comparisons_asked_once_say_nothing_of_positions_but_have_labels():
    found = quality([verdict("a", "compare", 0, 0.9)])
    assert "order_bias" not in found
    assert "same_position_rate" not in found
    # -(0.9 log2 0.9 + 0.1 log2 0.1)
    assert found["label_entropy"] == pytest.approx(0.468996, abs=1e-6)


def test_a_comparison_without_an_answer_in_one_order_has_no_label():
    found = quality(compared("a", 0.9, None))
    assert "label_entropy" not in found
    assert "order_bias" not in found


@pytest.mark.parametrize("bias", [0.0, 0.3, -0.3, 1.0, -2.5, 6.0])
def test_a_judge_with_a_logit_for_the_first_position(bias: float):
    """P(shown first) = s(true logit + bias), s the logistic function. In two pairs of true logits t = 1.2 and 0.

    The order bias is the mean of (s(t + b) + s(b - t)) / 2 - 1/2. Averaged over both orders, the label is (s(t + b) +
    s(t - b)) / 2, which is even in b: to first order the bias is gone; where nothing is better it is exactly 1/2; and
    as s is increasing it is above 1/2 just where t + b > b - t, that is for every b the right one wins. The same
    position wins twice just where |b| > |t|.
    """

    def s(logit: float) -> float:
        return 1 / (1 + math.exp(-logit))

    better, equal = compared("t", s(1.2 + bias), s(-1.2 + bias)), compared("0", s(bias), s(bias))
    found = quality([*better, *equal])
    by_hand = ((s(1.2 + bias) + s(bias - 1.2)) / 2 + s(bias)) / 2 - 0.5
    assert found["order_bias"] == pytest.approx(by_hand, abs=1e-12)
    assert found["order_bias"] * bias > 0 or not bias
    assert quality(better)["same_position_rate"] == float(abs(bias) > 1.2)
    # The labels, read as agreement with people who know the better answer.
    human = quality(compared("t", s(1.2 + bias), s(-1.2 + bias), kind="human"))
    assert human["human_agreement"] == 1.0
    label = math.exp(human["human_log_likelihood"])
    assert label == pytest.approx((s(1.2 + bias) + s(1.2 - bias)) / 2, abs=1e-12)
    assert quality(equal)["label_entropy"] == pytest.approx(1.0, abs=1e-12)


def test_averaging_takes_the_bias_out_to_first_order():
    """s(t) = 0.75 for t = ln 3. A bias b moves one order by s'(t) b = 0.1875 b, and the average by s''(t) b^2 / 2 =
    -0.046875 b^2."""

    def label(bias: float, orders: int) -> float:
        first, second = (1 / (1 + math.exp(-(sign * math.log(3) + bias))) for sign in (1, -1))
        found = quality(compared("q", first, second, kind="human")[:orders])
        return math.exp(found["human_log_likelihood"])

    assert (label(0.01, 1) - 0.75) / 0.01 == pytest.approx(0.1875, rel=0.01)
    assert (label(0.01, 2) - 0.75) / 0.01**2 == pytest.approx(-0.046875, rel=0.01)


def test_length_bias_of_three_comparisons():
    """Averaged labels of the first: 0.8, 0.4, 0.5, which is longer by 10, -5, 2."""
    asked = [*compared("a", 0.9, 0.3, (15, 5)), *compared("b", 0.4, 0.6, (5, 10)), *compared("c", 0.5, 0.5, (7, 5))]
    found = quality(asked)
    # Sum of (p - 1/2) d: 3 + 0.5 + 0 = 3.5; of (p - 1/2)^2: 0.09 + 0.01 = 0.1; of d^2: 100 + 25 + 4 = 129.
    assert found["length_correlation"] == pytest.approx(3.5 / math.sqrt(0.1 * 129))
    assert found["longer_wins"] == (1 + 1 + 0.5) / 3


def test_which_answer_is_called_the_first_does_not_change_the_length_bias():
    asked = [*compared("a", 0.9, 0.3, (15, 5)), *compared("b", 0.4, 0.6, (5, 10)), *compared("c", 0.7, 0.5, (7, 5))]
    other = [*compared("a", 0.3, 0.9, (5, 15)), *compared("b", 0.4, 0.6, (5, 10)), *compared("c", 0.7, 0.5, (7, 5))]
    for name in ("length_correlation", "longer_wins"):
        assert quality(asked)[name] == pytest.approx(quality(other)[name])


def test_a_constant_length_or_label_has_no_correlation():
    assert "length_correlation" not in quality([*compared("a", 0.9, 0.3), *compared("b", 0.2, 0.7)])
    assert "longer_wins" not in quality([*compared("a", 0.9, 0.3), *compared("b", 0.2, 0.7)])
    assert "length_correlation" not in quality([*compared("a", 0.5, 0.5, (9, 5)), *compared("b", 0.5, 0.5, (8, 5))])
    assert "length_correlation" not in quality(compared("a", 0.9, 0.3, (9, 5)))


def test_self_agreement():
    """Same winner, other winner, and a score, which has no winner: differences 0.1, 0.2, 0.3."""
    repeats = [
        verdict("a", "repeat", 0, 0.9, expected=0.8),
        verdict("b", "repeat", 0, 0.4, expected=0.6),
        verdict("c", "repeat", 0, 0.2, (5,), expected=0.5, sample_ids=("a",)),
        verdict("d", "repeat", 0, None, expected=0.5, abstention="timeout"),
        verdict("e", "repeat", 0, 0.5, expected=None),  # the first had no answer
    ]
    found = quality(repeats)
    assert found["self_agreement"] == 0.5
    assert found["self_difference"] == pytest.approx(0.2)


def test_canaries_and_people_with_both_orders_averaged():
    """Labels of the better answer: (0.9 + 0.6) / 2 = 0.75, (0.6 + 0.2) / 2 = 0.4, a tie, and one asked in one order."""
    asked = {"a": (0.9, 0.4), "b": (0.6, 0.8), "c": (0.5, 0.5)}
    for kind, name in (("canary", "canary_accuracy"), ("human", "human_agreement")):
        verdicts = [one for question, values in asked.items() for one in compared(question, *values, kind=kind)]
        found = quality([*verdicts, verdict("d", kind, 0, 0.7, expected=1.0)])
        assert found[name] == (1 + 0 + 0.5 + 1) / 4
    assert found["human_log_likelihood"] == pytest.approx(math.log(0.75 * 0.4 * 0.5 * 0.7) / 4)


def test_a_known_answer_that_order_0_shows_second():
    shown_second = [verdict("a", "canary", 0, 0.2, expected=0.0), verdict("a", "canary", 1, 0.9, expected=1.0)]
    assert quality(shown_second)["canary_accuracy"] == 1.0
    assert quality([verdict("a", "canary", 1, 0.9, expected=1.0)])["canary_accuracy"] == 1.0


def test_a_wrong_certainty_is_not_infinite():
    assert quality([verdict("a", "human", 0, 0.0, expected=1.0)])["human_log_likelihood"] == pytest.approx(
        math.log(1e-6)
    )


def test_audits_are_not_counted_among_comparisons():
    found = quality([*compared("a", 0.9, 0.9, kind="canary"), *compared("b", 0.8, 0.2)])
    assert found["same_position_rate"] == 0.0
    assert found["order_bias"] == pytest.approx(0.0)


def test_work_of_cached_verdicts_is_not_counted_twice():
    asked = [
        verdict(f"q{i}", "score", 0, 0.5, (5,), seconds=float(i), cost=1.0, prompt_tokens=10, completion_tokens=2)
        for i in range(1, 21)
    ]
    kept = [
        verdict("c", "score", 0, 0.5, (5,), seconds=900.0, cost=1.0, prompt_tokens=10, completion_tokens=2, cached=True)
    ]
    found = quality([*asked, *kept])
    assert (found["verdicts"], found["cached"]) == (21.0, pytest.approx(1 / 21))
    assert (found["cost"], found["prompt_tokens"], found["completion_tokens"]) == (20.0, 200.0, 40.0)
    assert (found["latency_mean"], found["latency_p95"]) == (10.5, 19.0)  # 19 of 20 took no longer than 19 s
    alone = quality(kept)
    assert "latency_mean" not in alone
    assert alone["cost"] == 0.0


def test_abstentions_by_reason_and_counts_by_kind():
    asked = [
        verdict("a", "score", 0, None, (5,), abstention="refused: as a model I"),
        verdict("b", "score", 0, None, (5,), abstention="timeout"),
        verdict("c", "score", 0, None, (5,), abstention="refused: no"),
        verdict("d", "score", 0, 0.5, (5,)),
        *compared("e", 0.5, 0.5),
    ]
    assert list(abstentions(asked).items()) == [("refused", 2), ("timeout", 1)]
    assert quality(asked)["abstained"] == 0.5
    assert kinds(asked) == {"compare": 2, "score": 4}


def test_an_example_of_the_commonest_reason():
    """Four of no verdict, of which two are alike, before three timeouts, which are all alike."""
    reasons = ["timeout"] * 3 + ["no verdict: 0.1", "no verdict: 0.2", "no verdict: 0.3", "no verdict: 0.2"]
    asked = [verdict(f"q{i}", "score", 0, None, (5,), abstention=reason) for i, reason in enumerate(reasons)]
    assert commonest_abstention(asked) == "no verdict: 0.2"
    assert commonest_abstention(compared("a", 0.5, 0.5)) is None
    rows = dict(quality_rows(run_quality(asked, canary_alarm=False)))
    assert rows["judge gave no answer"] == "100.0%: 4 no verdict, 3 timeout"
    assert rows["no answer, for example"] == "no verdict: 0.2; see judge.min_label_mass and judge.template_args"


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("timeout", None),
        ("refused: no\x1b[2J", "refused: no [2J"),
        (f"refused: {'x' * 300}", f"refused: {'x' * 191}..."),
    ],
)
def test_what_an_endpoint_said_is_shown_short_and_harmless(reason: str, shown: str | None):
    rows = dict(
        quality_rows(run_quality([verdict("q", "score", 0, None, (5,), abstention=reason)], canary_alarm=False))
    )
    assert rows.get("no answer, for example") == shown


def test_accuracy_on_canaries_has_its_count():
    """Two that were answered, one of them right; the third has an answer in one order only."""
    asked = [
        *compared("a", 0.9, 0.1, kind="canary"),
        *compared("b", 0.1, 0.9, kind="canary"),
        *compared("c", 0.9, None, kind="canary"),
    ]
    found = run_quality(asked, canary_alarm=False)
    assert found is not None
    assert dict(quality_rows(found))["judge's agreement"] == "50.0% on canaries (2 of them)"
    del found["canaries"]  # as in a summary that was written before they were counted
    assert dict(quality_rows(found))["judge's agreement"] == "50.0% on canaries"


def test_the_alarm_needs_ten_canaries_and_an_accuracy_below_its_limit():
    right = [one for i in range(7) for one in compared(f"r{i}", 0.9, 0.1, kind="canary")]
    wrong = [one for i in range(3) for one in compared(f"w{i}", 0.1, 0.9, kind="canary")]
    assert canaries_fail([*right, *wrong], 0.8) == (10, 0.7)
    assert canaries_fail([*right, *wrong], 0.7) is None
    assert canaries_fail([*right, *wrong[:-2]], 0.8) is None  # nine
