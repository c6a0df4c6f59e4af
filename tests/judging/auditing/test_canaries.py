"""Canaries of a user's own file, and what may be wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlsys.errors import ConfigError
from rlsys.judging.asking.constitution import Constitution, Principle
from rlsys.judging.asking.templates import load_templates
from rlsys.judging.auditing.canaries import Known, load_canaries

WHOLE = Constitution(
    name="ours",
    principles=(Principle(id="honesty", comparison="Which?"), Principle(id="privacy", comparison="Which one?")),
)
TEMPLATES = load_templates("default")


def line(**fields: object) -> str:
    return json.dumps({"prompt": "2 + 2?", "chosen": "4", "rejected": "5", **fields}) + "\n"


def load(tmp_path: Path, text: str, leave_out: tuple[str, ...] = ()) -> tuple[Known, ...]:
    file = tmp_path / "own.jsonl"
    file.write_text(text)
    return load_canaries(str(file), TEMPLATES, WHOLE.chosen(leave_out=leave_out), WHOLE)


def message(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    return str(caught.value).removeprefix(f"judge.canaries {tmp_path / 'own.jsonl'}")


def test_canaries_of_principles_that_were_not_chosen_are_left_out_and_blank_lines_skipped(tmp_path: Path):
    text = "\n" + line() + "  \n" + line(principle="honesty") + line(principle="privacy") + "\n"
    plain, honesty, privacy = load(tmp_path, text)
    assert plain == Known("2 + 2?", "4", "5", None)
    assert [known.principle for known in (honesty, privacy)] == list(WHOLE.principles)
    assert load(tmp_path, text, leave_out=("privacy",)) == (plain, honesty)
    with pytest.raises(ConfigError, match=r"none of its 1 canaries is of a principle of ours$"):
        load(tmp_path, line(principle="privacy"), leave_out=("privacy",))


def test_those_of_the_templates_may_be_of_another_constitution():
    templates = TEMPLATES.model_copy(
        update={"canaries": (TEMPLATES.canaries[0].model_copy(update={"principle": "elsewhere"}),)}
    )
    assert load_canaries(None, templates, WHOLE, WHOLE) == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            line() + "\n" + line(principle="honestly"),
            ":3: principle: the constitution 'ours' has no principle 'honestly'; did you mean honesty? (known: "
            "honesty, privacy)",
        ),
        ('{"prompt": "p", "chosen": "4"}\n', ":1: rejected: required key is missing: The worse answer."),
        ('{"prompt": "p", "choosen": "4", "rejected": "5"}\n', ":1: choosen: unknown key; did you mean chosen?"),
        (line(chosen=4), ":1: chosen: wanted text, got 4"),
        (line(chosen="5"), ":1: chosen and rejected are the same text: neither is better"),
        ("[1]\n", ":1: wanted an object with prompt, chosen and rejected, got [1]"),
        ("{\n", ":1: not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("\n \n", ": is empty"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, said: str):
    assert message(tmp_path, text) == said


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"^judge\.canaries .*gone\.jsonl: no such file$"):
        load_canaries(str(tmp_path / "gone.jsonl"), TEMPLATES, WHOLE, WHOLE)
