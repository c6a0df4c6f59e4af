"""What a model wrote, read as a list of instructions, as a yes or no, as instances. Nothing is made up for what can't
be read."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rlsys.data.tasks import Instance
from rlsys.methods.self_instruct.prompts import NONE

NUMBER = re.compile(r"^[ \t]*(?:[*_#]{1,3}[ \t]*)?(\d{1,3})[.):](?=\s|[*_])", re.MULTILINE)
FIELD = re.compile(r"^[ \t*]*(input|output)(?:[ \t]+\d{1,3})?[ \t]*:[*]*[ \t]*", re.MULTILINE | re.IGNORECASE)
NEXT_TASK = re.compile(r"^[ \t*]*task(?:[ \t]+\d{1,3})?[ \t]*:", re.MULTILINE | re.IGNORECASE)
BLANK_LINE = re.compile(r"\n[ \t]*\n")


@dataclass(frozen=True, slots=True)
class Instructions:
    """What was found in one text. `to_the_end`: nothing follows the last one, so that a text which ran into a token
    limit cuts it off."""

    found: tuple[str, ...]
    to_the_end: bool


def instructions(text: str, first: int) -> Instructions:
    """Items of a numbered list that goes on after the mark `first.`, each in one line.

    The text begins within item `first`, or with a number of its own. Where its first number is neither at the beginning
    nor `first` + 1, what stands before it is talk. From there on items are numbered one by one: another number at the
    beginning of a line belongs to the item's text. An item ends at a blank line at the latest.
    """
    text = text.lstrip("\n")
    marks = list(NUMBER.finditer(text))
    pieces: list[str] = []
    if not marks or (text[: marks[0].start()].strip() and int(marks[0][1]) == first + 1):
        begin, wanted = 0, first + 1
    else:
        begin, wanted = marks[0].end(), int(marks[0][1]) + 1
    for mark in marks:
        if int(mark[1]) == wanted and mark.start() >= begin:
            pieces.append(text[begin : mark.start()])
            begin, wanted = mark.end(), wanted + 1
    pieces.append(text[begin:])
    items = [BLANK_LINE.split(piece.lstrip("\n"), maxsplit=1) for piece in pieces]
    return Instructions(tuple(one_line(item[0]) for item in items), to_the_end=len(items[-1]) == 1)


def one_line(text: str) -> str:
    """With single spaces, without marks of emphasis around it, and with a capital at the beginning."""
    text = " ".join(text.split()).strip("*_` ")
    return text[:1].upper() + text[1:]


def is_yes(text: str) -> bool | None:
    """The first word; None if it is neither yes nor no."""
    word = re.match(r"\W*(yes|no)\b", text, re.IGNORECASE)
    return None if word is None else word[1].lower() == "yes"


@dataclass(frozen=True, slots=True)
class Instances:
    """What was found in one text; `malformed` counts inputs without an output and outputs without an input.
    `to_the_end`: nothing follows the last one found, so that a text which ran into a token limit cuts it off."""

    found: tuple[Instance, ...]
    malformed: int
    to_the_end: bool


def instances(text: str, output_first: bool) -> Instances:
    """Pairs of an input and an output, up to where the model goes on with a further task. The text begins after the
    first field's mark, or with a mark of its own."""
    first = "output" if output_first else "input"
    if FIELD.match(text.lstrip()) is None:
        text = f"{first}: {text}"
    if (further := NEXT_TASK.search(text)) is not None:
        text = text[: further.start()]
    marks = list(FIELD.finditer(text))
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    found: list[Instance] = []
    malformed, pending, whole = 0, None, False
    for mark, end in zip(marks, ends, strict=True):
        name, value = mark[1].lower(), text[mark.end() : end].strip()
        whole = name != first and pending is not None
        if name == first:
            malformed += pending is not None
            pending = value
        elif pending is None:
            malformed += 1
        else:
            found.append(_instance(*((value, pending) if output_first else (pending, value))))
            pending = None
    return Instances(tuple(found), malformed + (pending is not None), whole and further is None)


def _instance(given: str, output: str) -> Instance:
    return Instance("" if given.strip(" .").lower() in (NONE, NONE.strip("()"), "<none>") else given, output)
