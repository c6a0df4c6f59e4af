"""From label log-probs and JSON to numbers; whatever is not said is an abstention."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlsys.config.judge import CriterionConfig
from rlsys.judging.asking.parse import expected_score, first_is_better, rubric_schema, rubric_score
from rlsys.samples import Abstention, Score

LABELS = ("A", "B")
CRITERIA = (
    CriterionConfig(name="clear", description="Is it clear?", weight=1.0),
    CriterionConfig(name="kind", description="Is it kind?", weight=3.0),
)


def logs(**probabilities: float) -> dict[str, float]:
    return {label.strip("_"): math.log(p) for label, p in probabilities.items()}


def reason(result: object) -> str:
    assert isinstance(result, Abstention)
    return result.reason


def test_two_labels_are_normalised():
    assert first_is_better(logs(A=0.6, B=0.2), LABELS, 0.5) == pytest.approx(0.75)
    assert first_is_better(logs(A=0.2, B=0.6), LABELS, 0.5) == pytest.approx(0.25)


def test_a_very_sure_judge_is_no_overflow():
    assert first_is_better({"A": -1000.0, "B": 0.0}, LABELS, 0.5) == pytest.approx(0.0, abs=1e-300)
    assert first_is_better({"A": 0.0, "B": -math.inf}, LABELS, 0.5) == 1.0


@pytest.mark.parametrize(
    ("log_probs", "why"),
    [
        ({"A": -0.1}, "the label B has no log-prob"),
        ({}, "the label A has no log-prob"),
        ({"A": float("nan"), "B": -1.0}, "the label A has the log-prob nan"),
        ({"A": 0.5, "B": -1.0}, "the label A has the log-prob 0.5"),
        (logs(A=0.3, B=0.1), "no verdict: the labels A, B have 0.4 of the probability together"),
        ({"A": -math.inf, "B": -math.inf}, "no verdict: the labels A, B have 0 of the probability together"),
    ],
)
def test_what_is_no_verdict(log_probs: dict[str, float], why: str):
    assert reason(first_is_better(log_probs, LABELS, 0.5)) == why


def test_no_mass_is_no_verdict_even_where_none_is_asked_for():
    assert "no verdict" in reason(first_is_better({"A": -math.inf, "B": -math.inf}, LABELS, 0.0))


def test_the_expected_score():
    """1, 2 and 10 with 0.2, 0.3 and 0.5: the mean is 0.2 + 0.6 + 5 = 5.8, which is 4.8 of 9 steps."""
    unlikely = dict.fromkeys(map(str, range(3, 10)), -math.inf)
    assert expected_score({**unlikely, **logs(_1=0.2, _2=0.3, _10=0.5)}, 10, 0.5) == pytest.approx(4.8 / 9)


def test_numbers_that_the_endpoint_did_not_list_have_no_part_in_the_mean():
    """0.3 of 2 and 0.5 of 4 make (0.6 + 2) / 0.8 = 3.25, 2.25 of 4 steps."""
    assert expected_score(logs(_2=0.3, _4=0.5), 5, 0.5) == pytest.approx(2.25 / 4)
    assert reason(expected_score(logs(_2=0.1, _4=0.2), 5, 0.5)).startswith(
        "no verdict: the labels 1, 2, 3, 4, 5 have 0.3 "
    )
    assert reason(expected_score({}, 5, 0.5)) == "none of the labels 1, 2, 3, 4, 5 has a log-prob"


def test_a_rubric_is_a_weighted_mean():
    """5 of 1 ... 5 is 1, 2 is 0.25; (1 x 1 + 3 x 0.25) / 4 = 0.4375."""
    result = rubric_score(' {"kind": 2, "clear": 5}\n', CRITERIA, 5)
    assert result == Score(0.4375, {"clear": 1.0, "kind": 0.25})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7",
        "[]",
        "null",
        '{"clear": 5}',
        '{"clear": 5, "kind": 6}',
        '{"clear": 0, "kind": 2}',
        '{"clear": 5, "kind": 2.0}',
        '{"clear": true, "kind": 2}',
        '{"clear": "5", "kind": 2}',
        '{"clear": NaN, "kind": 2}',
        '{"clear": 5, "kind": 2, "extra": 1}',
        '{"clear": 1, "clear": 5, "kind": 2}',
        '{"clear": 5, "kind": 2} and more',
        'Here it is: {"clear": 5, "kind": 2}',
        '```json\n{"clear": 5, "kind": 2}\n```',
        "[" * 100_000,
    ],
)
def test_only_the_json_that_was_asked_for_is_a_rubric(text: str):
    assert "malformed JSON" in reason(rubric_score(text, CRITERIA, 5))


def test_the_schema_says_what_is_read():
    schema = rubric_schema(CRITERIA, 5)
    assert schema["required"] == ["clear", "kind"]
    assert schema["properties"]["kind"] == {"type": "integer", "minimum": 1, "maximum": 5}
    assert schema["additionalProperties"] is False


VALID = json.dumps({"clear": 5, "kind": 2})


@given(
    st.text()
    | st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda x: st.lists(x)).map(
        json.dumps
    )
)
def test_no_text_crashes_the_rubric(text: str):
    assert isinstance(rubric_score(text, CRITERIA, 5), Abstention)


@given(st.integers(0, len(VALID)), st.integers(0, len(VALID)), st.text(max_size=3))
def test_a_damaged_rubric_scores_only_what_it_says(start: int, end: int, put: str):
    """Whatever is cut out and put in: a score means that the text, read by `json`, holds whole numbers in range under
    both names."""
    text = VALID[:start] + put + VALID[end:]
    result = rubric_score(text, CRITERIA, 5)
    if isinstance(result, Score):
        said = json.loads(text)
        assert result.parts == {name: (said[name] - 1) / 4 for name in ("clear", "kind")}
        assert all(1 <= said[name] <= 5 for name in said)
