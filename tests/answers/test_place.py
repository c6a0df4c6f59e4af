"""Where final answers are found, by hand."""

from __future__ import annotations

import time

import pytest
from pydantic import ValidationError

from rlsys.answers.equal import vote
from rlsys.answers.place import final_answer, known_answer
from rlsys.config.answers import AnswerPlaces, Place

SOLUTION = "Jo answered 18 questions. She got 2 more.\n#### 20"


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        ("3+8=11;11+5=16", "=", "16"),
        ("no equation", "=", None),
        ("ends with =", "=", None),
        ("5 + 6 =", "=", None),  # the marker is there, and nothing follows it
        ("5 + 6 is 11", "=", "11"),  # no marker: the next place
        ("so\n#### 1,200.0", "####", "1,200.0"),
        ("so\n#### Monday.", "####", "Monday."),
        ("#### 20\n\nQuestion: what is 3 + 4?", "####", "20"),
        ("<answer>\n5\n</answer> I hope", "<answer>", "5"),
        ("#### 3\n#### 4", "####", "4"),
        ("first 3, then $1,200.50.", None, "$1,200.50"),
        (r"from 3 \boxed{\frac{1}{2}} or 4", None, r"\frac{1}{2}"),
        (r"\boxed{3}. And \boxed{-0.0}", None, "-0.0"),
        (r"\boxed{3} and \boxed{-0.0}", None, "3, -0.0"),
        (r"\boxed{3}, \boxed{3}", None, "3"),
        (r"\boxed{3}, so also \boxed{4} and \boxed{5}", None, "4, 5"),
        (r"\boxed{1e99999999}", None, "1e99999999"),
        (r"\boxed{\{1, 2\}}", None, r"\{1, 2\}"),
        (r"\boxed{, }", None, ","),
        (r"\boxed{ } after \boxed{3}, then \boxed{ }", None, None),
        (r"\boxed{3} then \boxed{5", None, None),
        ("about -5", None, "-5"),
        ("pages 3-5", None, "5"),
        ("it is 3.5.", None, "3.5"),
        ("it is 2 1/2 hours", None, "2 1/2"),
        ("it is \\frac{3}{4} of it", None, "\\frac{3}{4}"),
        ("it is 20%, say", None, "20%"),
        ("it is 18 cm^2", None, "18"),
        ("x2 and y_3", None, None),
        ("nothing", None, None),
        ("", None, None),
        (SOLUTION, None, "20"),
        (SOLUTION, "####", "20"),
        ("<think>3, \\boxed{4}</think> 5", None, "5"),
    ],
)
def test_final_answers(text: str, after: str | None, expected: str | None):
    assert final_answer(text, AnswerPlaces(answer_after=after)) == expected


@pytest.mark.parametrize(
    ("truth", "text", "expected"),
    [
        ("C", "Of 4 choices, the answer is (B).", "B"),
        ("4", "Of 4 choices, the answer is (B).", "4"),
        ("Monday", "In 4 days. The answer is **Tuesday**. I am sure.", "Tuesday**"),
        ("x+1", "So $2x$ or $3x$.", "3x"),
        ("x+1", "3x", "3x"),
        ("x+1", "First this.\nThen 3x", None),
    ],
)
def test_what_the_truth_is_decides_which_place_is_looked_for(truth: str, text: str, expected: str):
    assert final_answer(text, AnswerPlaces(), truth) == expected


@pytest.mark.parametrize(
    ("truth", "expected"), [("18", "18"), ("18 apples", "18"), ("18 m", "18 km"), ("18%", "18 km"), ("18 fps", "18")]
)
def test_the_last_number_has_its_unit_where_the_truth_has_a_known_one(truth: str, expected: str):
    assert final_answer("It is 18 km.", AnswerPlaces(), truth) == expected


@pytest.mark.parametrize(
    ("text", "asked", "expected"),
    [
        ("<think>maybe 18", "2 * 9?", None),
        ("It is 17. <think>or 18", "2 * 9?", None),
        ("<think>17</think>18", "2 * 9?", "18"),
        ("maybe 18", "2 * 9? <think>\n", None),  # the prompt began the thought
        ("17</think>18", "2 * 9? <think>\n", "18"),
        ("18", "2 * 9? <think>\n\n</think>\n\n", "18"),
        ("18", "What is <think> in a text?", "18"),
    ],
)
def test_a_thought_that_does_not_end_has_no_answer(text: str, asked: str, expected: str | None):
    assert final_answer(text, AnswerPlaces(), "18", asked) == expected


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        (("marker", "box", "number"), "1"),
        (("box", "marker"), "2"),
        (("number", "box", "marker"), "3"),
        (("letter", "marker"), "1"),
    ],
)
def test_places_are_tried_in_the_order_of_the_settings(places: tuple[Place, ...], expected: str):
    text = "#### 1\n\\boxed{2} and 3"
    assert final_answer(text, AnswerPlaces(answer_after="####", answer_places=places)) == expected


def test_a_known_answer_is_marked_or_all_of_the_text():
    assert known_answer("x^2 + 1", AnswerPlaces()) == "x^2 + 1"
    assert known_answer(r"thus \boxed{5} of 6", AnswerPlaces()) == "5"
    assert known_answer(SOLUTION, AnswerPlaces(answer_after="####")) == "20"
    assert known_answer("20", AnswerPlaces(answer_after="####")) == "20"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"answer_after": "#", "answer_places": ("box",)},
            "answer_after has no effect without `marker` in answer_places",
        ),
        ({"answer_places": ("marker",)}, "the place `marker` needs answer_after"),
        ({"answer_places": ("box", "box")}, "lists a place twice"),
        ({"answer_after": " "}, "answer_after is blank"),
        ({"answer_places": ("last",)}, "Input should be 'marker', 'box', 'letter', 'number' or 'statement'"),
    ],
)
def test_settings_that_can_not_be_meant(settings: dict, message: str):
    with pytest.raises(ValidationError, match=message):
        AnswerPlaces(**settings)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("1,200.0", "1200"),
        ("+07.50", "7.5"),
        (".5", r"\frac{1}{2}"),
        ("-0.0", "0"),
        (r"\{3, 5\}", "5 or 3"),
        ("Yes.", "yes"),
        ("x = 5", "5 apples"),
        (r"\frac{1}{6} \approx 0.167", "1/6"),
    ],
)
def test_equal_answers_have_the_same_vote(first: str, second: str):
    assert vote(first) == vote(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("(3, 5)", "(5, 3)"),
        ("50%", "50"),
        ("9" * 40, "9" * 41),
        ("1e99999999", "1e99999998"),
        ("x+1", "x-1"),
        ("[0,1)", "[0,1]"),
    ],
)
def test_different_answers_have_different_votes(first: str, second: str):
    assert vote(first) != vote(second)


@pytest.mark.parametrize(
    "piece",
    [
        "\\boxed{",
        "\\boxed{3} or ",
        "\\(",
        "$",
        "(A) ",
        "A\n",
        "\n",
        " ",
        "1 and ",
        "1,000",
        "answer is ",
        "answer _ ",
        "--",
        "1/2 ",
        "5 km ",
        "€5",
        "(A) and ",
        "B is correct. ",
        "so (A) ",
        "x=\\boxed{3} or ",
    ],
)
def test_a_long_text_takes_no_more_than_its_length(piece: str):
    text = piece * (100_000 // len(piece))
    for truth in ("5", "5 km", "C", "x+1"):
        began = time.perf_counter()
        final_answer(text, AnswerPlaces(), truth)
        assert time.perf_counter() - began < 3, truth  # by the square of its length it would be minutes
