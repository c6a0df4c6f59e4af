from __future__ import annotations

import pytest

from rlsys.data.tasks import Instance
from rlsys.methods.self_instruct.filters import FilterConfig, instruction_problem, latin_share, sort_instances


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Name three birds of prey.", None),
        ("", "empty"),
        ("Name three birds", "short"),
        ("word " * 150, None),
        ("word " * 151, "long"),
        ("(Name) three birds of prey", "start"),
        ("$5 are how many cents?", "start"),
        ("Write a program that counts birds", "opening"),
        ("Describe this Picture in two words", "keyword"),
        ("Then go to the shop", "keyword"),
        ("Describe the mapping of two words", None),
        ("Paraphrase the paragraph in two words", None),
        ("Назови трёх хищных птиц", "language"),
        ("说出 三种 猛禽 的 名字", "language"),
        ("Nenne drei große Raubvögel", None),
        ("Translate the word \u03bb\u03cc\u03b3\u03bf\u03c2 into English, please", None),  # 5 of 38 letters are Greek
        ("2 + 2 = 4", "language"),  # not one letter
    ],
)
def test_instructions(text: str, reason: str | None):
    assert instruction_problem(text, FilterConfig(latin_share=0.8)) == reason


def test_each_filter_can_be_changed_or_taken_away():
    off = FilterConfig(min_words=1, max_words=1000, keywords=(), openings=(), latin_share=0)
    for text in ("Go", "word " * 151, "Write a program", "Draw a map", "Назови трёх хищных птиц"):
        assert instruction_problem(text, off) is None
    assert instruction_problem("Bake a large cake", FilterConfig(keywords=("cake",))) == "keyword"


def test_the_share_of_latin_letters():
    assert latin_share("ab я1 é!") == pytest.approx(3 / 4)
    assert latin_share("12 !") == 0


def test_instances():
    good, other = Instance("a", "A"), Instance("b", "A")
    found = [good, Instance("c", ""), Instance("d", "d"), good, Instance("e:", "E"), Instance("f", "F:"), other]
    assert sort_instances(found) == ([good, other], ["empty_output", "echo", "duplicate", "unfinished", "unfinished"])


def test_one_input_with_different_outputs_spoils_all_of_them():
    assert sort_instances([Instance("a", "A"), Instance("b", "B"), Instance("a", "C")]) == ([], ["contradictory"] * 3)
    free = [Instance("", "A"), Instance("", "B")]  # a task without input may well have several right outputs
    assert sort_instances(free) == (free, [])
