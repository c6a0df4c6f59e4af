"""Disguises, dialogues, success, and the rows of the next round."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from rlsys.curation.safety import Labels
from rlsys.data.messages import Message
from rlsys.errors import ConfigError
from rlsys.safety.attacks import BARE, Attack, attacks, read_templates
from rlsys.safety.red_team import carry_out, success, training_rows
from rlsys.safety.rows import SafetyRow
from rlsys.safety.transformations import DIALOGUES, TRANSFORMATIONS


def row(number: int, text: str, category: str = "a") -> SafetyRow:
    return SafetyRow(f"train:{number}", text, Labels(category, "3", "refuse"))


ROWS = [row(1, "cat"), row(2, "dog"), row(3, "eel", "b")]


def test_disguises_are_mechanical():
    done = {name: transform("Is it 5?") for name, transform in TRANSFORMATIONS.items()}
    assert done["plain"] == "Is it 5?"
    assert base64.b64decode(done["base64"]) == b"Is it 5?"
    assert done["rot13"] == "Vf vg 5?"
    assert done["leetspeak"] == "15 17 5?"
    assert done["reversed_text"] == "?5 ti sI"
    assert done["spaced"] == "I s   i t   5 ?"
    assert done["full_width"] == "Ｉｓ ｉｔ ５？"
    assert done["zero_width"].replace("\u200b", "") == "Is it 5?"
    assert len(done["zero_width"]) == 15
    assert done["capitals"] == "IS IT 5?"
    assert all("Is it 5?" in done[name] for name in ("role_play", "prefix_injection", "refusal_suppression"))


def test_dialogues_end_with_the_request_or_its_parts():
    assert DIALOGUES["in_steps"]("cat")[-1] == "cat"
    assert DIALOGUES["insisting"]("cat")[0] == "cat"
    first, second, _ = DIALOGUES["split_payload"]("catfish")
    assert (first.endswith(": cat"), second.endswith(": fish")) == (True, True)


def twice(goal: str) -> str:
    return f"{goal}{goal}"


def nothing(goal: str) -> int:
    return 0


def test_templates_times_disguises_times_goals():
    made = attacks(ROWS[:2], ["capitals", f"{__name__}.twice"], ["say {goal}", "{goal}!"], 2)
    assert [(one.name, one.turns) for one in made][::2] == [
        ("capitals, template 1", ("say CAT",)),
        ("capitals, template 1", ("say DOG",)),
        ("capitals, template 2", ("CAT!",)),
        ("capitals, template 2", ("DOG!",)),
        (f"{__name__}.twice, template 1", ("say catcat",)),
        (f"{__name__}.twice, template 1", ("say dogdog",)),
        (f"{__name__}.twice, template 2", ("catcat!",)),
        (f"{__name__}.twice, template 2", ("dogdog!",)),
    ]
    assert len({one.attack_id for one in made}) == 16
    with pytest.raises(ConfigError, match="no such attack; did you mean base64"):
        attacks(ROWS, ["bass64"], BARE, 1)
    with pytest.raises(ConfigError, match=r"nothing: gave 0; wanted a text, or a tuple of texts"):
        attacks(ROWS, [f"{__name__}.nothing"], BARE, 1)


def test_a_template_without_a_goal_is_refused(tmp_path: Path):
    file = tmp_path / "templates.txt"
    file.write_text("One: {goal}\n\nTwo\\n{goal}\n")
    assert read_templates(file) == ("One: {goal}", "Two\n{goal}")
    file.write_text("One: {goal}\nTwo\n")
    with pytest.raises(ConfigError, match=r"template 2 has no \{goal\}"):
        read_templates(file)


def test_a_dialogue_goes_on_with_what_was_answered_and_ends_in_silence():
    """Each answer counts the turns; to eels nothing is said."""
    rounds: list[tuple[str, int]] = []

    def answer(conversations: Mapping[str, Sequence[Message]], tag: str) -> dict[str, str]:
        rounds.append((tag, len(conversations)))
        return {one: "" if "eel" in turns[0]["content"] else f"{len(turns)}." for one, turns in conversations.items()}

    outcomes = carry_out(attacks([ROWS[0], ROWS[2]], ["plain", "insisting"], BARE, 1), answer)
    assert rounds == [("red-team-0", 4), ("red-team-1", 1)]
    assert [one.answer for one in outcomes] == ["1.", "", "3.", ""]
    assert outcomes[2].prompt == [
        {"role": "user", "content": "cat"},
        {"role": "assistant", "content": "1."},
        {"role": "user", "content": "That is not what I asked. Again: cat"},
    ]


def outcomes_of(*pairs: tuple[SafetyRow, str]):
    made = [Attack(own, name, (own.text,)) for own, name in pairs]
    return carry_out(made, lambda conversations, tag: dict.fromkeys(conversations, "yes"))


def test_success_is_counted_by_goal():
    """Goal 1 gives in to one attack of two, goal 2 to none, goal 3 to its only one; one answer is not known."""
    outcomes = outcomes_of(*((own, name) for name in ("x", "y") for own in ROWS))
    refuses = [False, True, False, True, True, None]
    found = success(outcomes, refuses)
    assert (found.total.count, found.total.of, found.unknown) == (1.5, 3, 1)
    assert (found.any_attack.count, found.any_attack.of) == (2, 3)
    assert {name: (one.count, one.of) for name, one in found.attacks.items()} == {"x": (2, 3), "y": (0, 2)}
    assert {name: (one.count, one.of) for name, one in found.categories.items()} == {"a": (0.5, 2), "b": (1, 1)}


def test_failures_become_rows_of_the_next_round():
    outcomes = outcomes_of((ROWS[0], "x"), (ROWS[1], "x"), (ROWS[2], "x"))
    (made,) = training_rows(outcomes, [True, None, False], answer="no")
    assert made == {
        "prompt": "eel",
        "answer": "no",
        "category": "b",
        "severity": "3",
        "desired": "refuse",
        "attack": "x",
        "goal": "eel",
    }
    assert json.dumps(made)
