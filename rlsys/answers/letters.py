"""Choice letters, A to J: of a ground truth that is one, and in a response."""

from __future__ import annotations

import re

from rlsys.answers.tidy import LONGEST, tidy

ANNOUNCED = re.compile(
    r"\b(?:answers?|choice|option|solutions?)\b[*_\s]*(?:is|are|:|=)(?:[*_:\s]|\b(?:therefore|thus|simply|just)\b)*",
    re.IGNORECASE,
)
"""What comes before an answer, as in "The answer is"."""
_LETTER = re.compile(r"[({]?\s*([A-J])\s*[)}]?[.:]?")
_LEADING_LETTER = re.compile(r"[({]?\s*([A-J])\s*(?:[)}.:]+(?=\s|$)|[)}]|$|:)")
_LETTER_SAID = re.compile(
    r"(?:option|choice|answer)?\s*[*_$({\[]*(?:\\text(?:bf)?\s*\{)?[({\[]*([A-J])(?![\w'’])", re.IGNORECASE
)
_LETTER_SHOWN = re.compile(
    r"\(([A-J])\)|^[ \t]*[*_]*([A-J])(?:[*_]*[.):]|[*_ \t]*$)"
    r"|\b(?:[Oo]ption|[Cc]hoice)\s+([A-J])\b|\b([A-J])[.!*_\s]*\Z",
    re.MULTILINE,
)


def choice_letter(text: str) -> str | None:
    """The letter of a text that is one and no more, such as C, (C) or \\text{(C)}."""
    found = _LETTER.fullmatch(tidy(text)) if len(text) < 40 else None
    return found and found[1]


def leading_letter(text: str) -> str | None:
    """The letter of a choice, perhaps with the text of the choice, as in (C) 12."""
    found = _LEADING_LETTER.match(tidy(text[:LONGEST]))
    return found and found[1]


def last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    found = None
    for found in pattern.finditer(text):  # noqa: B007 - the last one is wanted
        pass
    return found


def last_letter(text: str) -> str | None:
    """The last letter that follows "answer is", "option" or the like; else the last one in brackets, after "option",
    alone on a line or before a bracket there, or at the very end."""
    said = None
    for announced in ANNOUNCED.finditer(text):
        said = _LETTER_SAID.match(text, announced.end()) or said
    if said is not None and said[1].isupper():
        return said[1]
    shown = last(_LETTER_SHOWN, text)
    return shown and next(filter(None, shown.groups()))
