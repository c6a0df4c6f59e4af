"""Every number was worked out by hand from the few verdicts and outcomes beside it."""

import math
from dataclasses import replace

import pytest

from rlsys.commands.report.feedback import Change, changes, evasiveness, leave_one_out, principles, round_of, rounds
from rlsys.run.ledger import Outcome
from rlsys.samples import Verdict


def outcome(sample_id: str, phase: str = "train", step: int = 1, **parts: float) -> Outcome:
    return Outcome(sample_id, step, phase, sum(parts.values()) if parts else None, parts)


def verdict(
    question: str, kind: str, order: int, principle: str | None, *ids: str, value: float | None = None
) -> Verdict:
    return Verdict(f"{question}/{kind}/{order}", kind, ids, principle, "j", "", "", {}, value, lengths=(3,) * len(ids))


def compared(question: str, principle: str | None, first: float | None, second: float | None) -> list[Verdict]:
    """Both orders; the samples are QUESTION.a and QUESTION.b."""
    a, b = f"{question}.a", f"{question}.b"
    return [
        verdict(question, "compare", 0, principle, a, b, value=first),
        verdict(question, "compare", 1, principle, b, a, value=second),
    ]


def test_rounds_are_read_from_ids():
    assert [round_of(name) for name in ("train-1/p/0/0", "train-1/p/0/0#r1", "train-1/p/0/0#r12", "p#ready", "#r")] == [
        0,
        1,
        12,
        0,
        0,
    ]


def test_questions_by_principle_and_kind():
    """Both orders are one question, audits are none, and what had no principle is not listed."""
    asked = [
        *compared("q1", "kind", 0.5, 0.5),
        *compared("q2", "kind", 0.5, None),
        *compared("q3", None, 0.5, 0.5),
        verdict("s#c1", "critique", 0, "kind", "s"),
        verdict("s#r1", "revision", 0, "honest", "s"),
        verdict("q1", "repeat", 0, "kind", "a", "b", value=0.5),
        verdict("q1", "canary", 0, "honest", value=0.5),
    ]
    assert list(principles(asked).items()) == [("kind", {"compare": 2, "critique": 1}), ("honest", {"revision": 1})]


ANSWERS = [
    outcome("s", gold=1.0, help=4.0),
    outcome("t", gold=3.0),
    outcome("u"),  # was not scored
    outcome("s#r1", "beside", gold=2.0, help=3.0),
    outcome("t#r1", "beside", gold=4.0),
    outcome("s#r2", "beside", gold=6.0),
    outcome("eval-sampled-0/p", "eval", gold=100.0),
]


def test_rounds_of_revisions():
    assert rounds(ANSWERS) == {
        0: (2, {"gold": 2.0, "help": 4.0}),
        1: (2, {"gold": 3.0, "help": 3.0}),
        2: (2, {"gold": 5.0}),  # `t` stands as the first round left it
    }


def test_without_revisions_there_are_no_rounds():
    assert rounds(ANSWERS[:3]) == {}


def test_changes_by_each_principle():
    """kind: 1 -> 2 and 3 -> 4, help 4 -> 3; honest: 2 -> 6, from the first revision; a revision without score or answer
    tells nothing."""
    revised = [
        verdict("s#r1", "revision", 0, "kind", "s"),
        verdict("t#r1", "revision", 0, "kind", "t"),
        verdict("s#r2", "revision", 0, "honest", "s#r1"),
        verdict("u#r1", "revision", 0, "kind", "u"),
        verdict("s#c1", "critique", 0, "kind", "s"),
    ]
    assert changes(ANSWERS, revised) == {
        "honest": {"gold": Change(4.0, None, 1)},
        "kind": {"gold": Change(1.0, 0.0, 2), "help": Change(-1.0, None, 1)},
    }


def test_the_standard_error_of_a_change():
    """Changes 1, 2 and 6: mean 3, standard deviation sqrt((4 + 1 + 9) / 2)."""
    answers = [outcome(name, gold=0.0) for name in "abc"]
    answers += [
        outcome(f"{name}#r1", "beside", gold=change) for name, change in zip("abc", (1.0, 2.0, 6.0), strict=True)
    ]
    found = changes(answers, [verdict(f"{name}#r1", "revision", 0, "p", name) for name in "abc"])["p"]["gold"]
    assert (found.mean, found.count) == (3.0, 3)
    assert found.error == pytest.approx(math.sqrt(7 / 3))


def test_evasive_answers_of_the_first_and_last_evaluation_training_and_rounds():
    found = [
        outcome("r#r1", "beside", evasive=1.0),
        outcome("a", evasive=0.0),
        outcome("b", evasive=1.0),
        *(outcome(f"e{step}", "eval", step, evasive=step / 20) for step in (0, 10, 20)),
        outcome("e20b", "eval", 20, evasive=0.0),
        outcome("greedy", "beside", evasive=1.0),
        outcome("c", gold=1.0),
    ]
    assert list(evasiveness(found).items()) == [
        ("held-out answers, step 0", (1, 0.0)),
        ("held-out answers, step 20", (2, 0.5)),
        ("answers sampled to train on", (2, 0.5)),
        ("revisions of round 1", (1, 1.0)),
    ]
    assert evasiveness([outcome("c", gold=1.0)]) == {}


LABELS = [
    *compared("q1", "kind", 0.9, 0.3),
    *compared("q2", "kind", 0.2, 0.6),
    *compared("q3", "honest", 0.7, 0.7),
    *compared("q4", None, 0.9, 0.9),
]
"""P(a): 0.8, 0.3, 0.5; what was asked in general is no principle's."""
WORTH = [
    outcome("q1.a", gold=2.0, judge=1.0),
    outcome("q1.b", gold=1.0, judge=0.0),
    outcome("q2.a", gold=2.0),
    outcome("q2.b", gold=1.0),
    outcome("q3.a", gold=2.0),
    outcome("q3.b", gold=1.0),
]


def test_labels_without_each_principle():
    found = leave_one_out(LABELS, WORTH, of_judge=["judge"])
    assert list(found) == [None, "honest", "kind"]
    assert [own["comparisons"] for own in found.values()] == [3, 2, 1]
    # Of gold: q1 agrees, q2 contradicts, q3 is even.
    assert [own["agrees: gold"] for own in found.values()] == [0.5, 0.5, 0.5]
    # The same position wins twice in q3 alone. Order bias: means 0.6, 0.4, 0.7, less 1/2.
    assert [own["same_position_rate"] for own in found.values()] == [pytest.approx(1 / 3), 0.0, 1.0]
    assert [own["order_bias"] for own in found.values()] == [
        pytest.approx(0.2 / 3),
        pytest.approx(0.0),
        pytest.approx(0.2),
    ]
    assert found["kind"]["label_entropy"] == 1.0
    assert not any("judge" in name for own in found.values() for name in own)


def test_a_label_with_an_abstention_and_equal_scores_agree_with_nothing():
    equal = [outcome("q1.a", gold=1.0), outcome("q1.b", gold=1.0), *WORTH[2:]]
    labels = [*LABELS[:2], *compared("q2", "kind", 0.2, None), *LABELS[4:6]]
    found = leave_one_out(labels, equal)
    assert found[None]["agrees: gold"] == 0.5  # q3 alone
    assert "agrees: gold" not in found["honest"]


def test_a_single_principle_can_not_be_left_out():
    assert leave_one_out(LABELS[:4], WORTH) == {}


def test_the_order_in_which_a_label_was_recorded_does_not_matter():
    turned = [replace(one) for pair in (LABELS[1::-1], LABELS[3:1:-1], LABELS[5:3:-1]) for one in pair]
    assert leave_one_out(turned, WORTH) == leave_one_out(LABELS[:6], WORTH)
