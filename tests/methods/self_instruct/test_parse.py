from __future__ import annotations

import pytest

from rlsys.data.tasks import Instance
from rlsys.methods.self_instruct import parse


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (" name a bird\n10. name a fish\n11. name a tree", ["Name a bird", "Name a fish", "Name a tree"]),
        ("9. name a bird\n10. name a fish", ["Name a bird", "Name a fish"]),
        ("\n\n9) name a bird\n\n10) name a fish\n", ["Name a bird", "Name a fish"]),
        (
            "Sure, here are some:\n1. **Name a bird**\n2. Name a fish\n\nI hope that helps!",
            ["Name a bird", "Name a fish"],
        ),
        ("**9.** Name a bird\n**10.** Name a fish", ["Name a bird", "Name a fish"]),
        # A number that does not go on belongs to the text.
        ("9. add these:\n1. two\n2. three\n10. name a fish", ["Add these: 1. two 2. three", "Name a fish"]),
        (" name a bird\nof prey\n10. pi is 3.14, explain", ["Name a bird of prey", "Pi is 3.14, explain"]),
        ("9. name a bird\n11. name a fish", ["Name a bird 11. name a fish"]),
        (" name a bird", ["Name a bird"]),
        ("9.\n10. name a fish", ["", "Name a fish"]),
        ("", [""]),
    ],
)
def test_a_list_that_goes_on_from_nine(text: str, wanted: list[str]):
    assert list(parse.instructions(text, 9).found) == wanted


@pytest.mark.parametrize(
    ("text", "to_the_end"),
    [
        ("9. name a bird\n10. name a fi", True),
        ("9. name a bird\n10. name a fish\n", True),  # a second line of it may come
        ("9. name a bird\n10.", True),
        ("9. name a bird\n10. name a fish\n\n", False),
        ("9. name a bird\n\n10. name a fish\n \nI hope th", False),
        ("9. name a bird\n\n10. name a fi", True),
    ],
)
def test_a_blank_line_ends_the_last_item(text: str, to_the_end: bool):
    assert parse.instructions(text, 9).to_the_end == to_the_end


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (" Yes", True),
        ("no.", False),
        ("**Yes**, it is", True),
        ("It is: yes", None),
        ("nothing", None),
        ("", None),
        ("yesterday", None),
    ],
)
def test_only_a_plain_yes_or_no_counts(text: str, wanted: bool | None):
    assert parse.is_yes(text) is wanted


def test_inputs_and_their_outputs():
    text = (
        " a wren\nOutput 1: It sings.\nLoudly.\nInput 2: (none)\nOutput 2: Hush\n\n"
        "Task: Something else\nInput 1: x\nOutput 1: y"
    )
    wanted = (Instance("a wren", "It sings.\nLoudly."), Instance("", "Hush"))
    assert parse.instances(text, output_first=False) == parse.Instances(wanted, 0, to_the_end=False)


def test_outputs_and_their_inputs():
    text = " Positive\nInput 1: I like it.\n**Output 2:** Negative\n**Input 2:** I don't."
    wanted = (Instance("I like it.", "Positive"), Instance("I don't.", "Negative"))
    assert parse.instances(text, output_first=True).found == wanted


def test_marks_of_its_own_and_texts_that_merely_mention_them():
    text = "Input: say output: now\noutput:\nThe Input: is read"
    assert parse.instances(text, output_first=False).found == (Instance("say output: now", "The Input: is read"),)


@pytest.mark.parametrize(
    ("text", "found", "malformed", "to_the_end"),
    [
        ("a wren", (), 1, False),
        (" a wren\nInput 2: an owl\nOutput 2: hoot", (Instance("an owl", "hoot"),), 1, True),
        (" a wren\nOutput 1: sings\nInput 2: an o", (Instance("a wren", "sings"),), 1, False),
        (" a wren\nOutput 1: sings\nOutput 1: again", (Instance("a wren", "sings"),), 1, False),
        ("Output 1: sings", (), 1, False),
        ("Task: x", (), 1, False),
    ],
)
def test_halves_are_counted(text: str, found: tuple[Instance, ...], malformed: int, to_the_end: bool):
    assert parse.instances(text, output_first=False) == parse.Instances(found, malformed, to_the_end)
