"""Each rule on texts that people write, and on what the rule is for."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from rlsys.curation.quality import Quality, repetition, symbols, truncated, unclosed
from rlsys.curation.settings import QualityConfig
from rlsys.curation.view import View

PROSE = (
    "The river rises in the hills to the north and runs for about ninety miles before it meets the sea. In spring it "
    "floods the low meadows, which is why no house stands there, and why the grass is so rich in June."
)
CODE = "Use a loop:\n```python\nfor i in range(3):\n    print(i, 'of', 3)\n```\nThat is all."


def reason(
    answer: str, prompt: str = "Why?", roles: tuple[str, ...] = (), row: Any = None, **settings: Any
) -> str | None:
    found = Quality(QualityConfig.model_validate(settings)).problem(View("answered", prompt, (answer,), roles), row)
    return found and found[0]


@pytest.mark.parametrize(
    "text",
    [
        PROSE,
        CODE,
        "42",
        "18-2=<<18-2=16>>16\n#### 16",
        "这是一个很长的回答,没有任何空格。" * 3,
        r"It is $\frac{1}{2}$.",
        "Yes",
    ],
)
def test_what_people_write_stays(text: str):
    assert reason(text) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "short"),
        ("I am here. " * 60, "repetition"),
        ("哈哈哈哈" * 100, "repetition"),
        ("=-=-=-=-=-=-= *** ??? !!! ###", "symbols"),
        (f"{PROSE} It then turns and", "truncated"),
        (f"{PROSE} There are three,", "truncated"),
        ("Use this:\n```python\nprint(1)", "unclosed"),
        (r"We have \[ x = 2", "unclosed"),
        (r"\begin{align} x", "unclosed"),
        ("So $$x$$ and $$y", "unclosed"),
    ],
)
def test_what_is_dropped_and_why(text: str, why: str):
    assert reason(text) == why


def test_measures_have_the_values_that_they_should():
    # Of the 24 characters that are no blank 20 are symbols.
    assert symbols("a b c d " + "!?" * 10) == pytest.approx(20 / 24)
    assert symbols("!!!") == 0.0
    assert repetition("a" * 10_000) > 0.99
    assert repetition("short") == 0.0


@pytest.mark.parametrize("end", ["- milk\n- two eggs", "See https://a.example/page-one", "Yours,\nJane", '"Go away."'])
def test_ends_that_are_ends(end: str):
    assert not truncated(f"{PROSE}\n{end}")


def test_a_fence_within_prose_hides_its_dollars():
    assert unclosed("```\necho $$\n```\nDone.") is None


@pytest.mark.parametrize(
    ("roles", "fine"),
    [
        (("user", "assistant"), True),
        (("system", "user", "assistant", "tool", "tool", "assistant"), True),
        (("user", "user", "assistant"), False),
        (("assistant", "user"), False),
        (("user", "system", "assistant"), False),
    ],
)
def test_the_sides_take_turns(roles: tuple[str, ...], fine: bool):
    assert reason("Fine.", roles=roles) == (None if fine else "roles")


def test_lengths_refusals_forms_and_scores():
    assert reason("four", min_answer_chars=5) == "short"
    assert reason("four", max_answer_chars=3) == "long"
    assert reason("four", prompt="12345", max_prompt_chars=4) == "long"
    assert reason("I'm sorry, but I can't help with that.") is None
    assert reason("I'm sorry, but I can't help with that.", refused="drop") == "refused"
    assert reason("<a>1</a>", form={"tags": ["a"]}) is None
    assert reason("1", form={"tags": ["a"]}) == "form"
    bound = {"score": "judge.score", "min_score": 0.5}
    assert reason("x", row={"judge": {"score": 0.5}}, **bound) is None
    assert reason("x", row={"judge": {"score": 0.4}}, **bound) == "score"
    assert reason("x", row={}, **bound) == "score"


def test_of_a_comparison_the_best_answer_counts_and_of_labelled_ones_none():
    quality = Quality(QualityConfig(refused="drop"))
    refusal, fine = "I'm sorry, but I can't help with that.", "Sure."
    assert quality.problem(View("comparison", "q", (fine, refusal)), {}) is None
    assert quality.problem(View("comparison", "q", (refusal, fine)), {}) is not None
    assert quality.problem(View("labelled", "q", (refusal,)), {}) is None


def too_dear(row: dict[str, Any]) -> str | None:
    return "too dear" if row["price"] > 10 else None


RULE = "curation.test_quality.too_dear"


def test_a_rule_of_ones_own():
    assert reason("x", row={"price": 10}, rules=[RULE]) is None
    found = Quality(QualityConfig(rules=(RULE,))).problem(View("answered", "q", ("x",)), {"price": 11})
    assert found == ("rule", f"{RULE}: too dear")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"rules": ("nothing.here",)}, "no such module"),
        ({"rules": ("plain",)}, "is not the dotted path of a function"),
        ({"score": "s"}, "give both or neither"),
        ({"form": {"tags": ["a"], "regex": "b"}}, "exactly one of"),
    ],
)
def test_settings_that_mean_nothing(settings: dict[str, Any], told: str):
    with pytest.raises(ValidationError, match=told):
        QualityConfig.model_validate(settings)
