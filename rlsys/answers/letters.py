"""Choice letters, A to J: of a ground truth that is one, and in a response."""

from __future__ import annotations

import re

from rlsys.answers.tidy import LONGEST, tidy

ANNOUNCED = re.compile(
    r"\b(?:answers?|choice|option|solutions?)\b[*_\s]*(?:is|are|:|=)(?:[*_:\s]|\b(?:therefore|thus|simply|just)\b)*"
    r"|<answer>|(?:答案|正确选项)[是为：:\s]*",
    re.IGNORECASE,
)
"""What comes before an answer, as in "The answer is"."""
_LETTER = re.compile(r"[({]?\s*([A-J])\s*[)}]?[.:]?")
_LEADING_LETTER = re.compile(
    r"[({]?\s*([A-J])\s*(?:[)}.:]+(?=\s|$)|[)}]|$|:)|\[\s*([A-J])\s*\]|\(\s*([a-j])\s*\)(?=\s|$)"
)
_OPEN, _CLOSE = r"""[*_`"'“‘$({\[（【]{0,4}""", r"""[*_`"'”’$)}\]）】]{0,4}"""
_CHOICE = rf"(?<![\w\\]){_OPEN}([A-J]){_CLOSE}"
_LETTER_SAID = re.compile(
    rf"\s*(?i:option|choice|answer)?\s*(?:{_OPEN}(?:\\text(?:bf)?\s*\{{)?[({{\[]?([A-J])(?![A-Za-z0-9_'’])"
    r"|[*_]{0,4}\(([a-j])\))"
)
_RIGHT = (
    r"(?:the\s+answer\b"
    r"|(?:the\s+)?(?:(?:only|single|best|most|likely|right|correct|final)\s+){1,3}(?:answer|option|choice|one)\b"
    r"|(?:the\s+)?(?:correct|right)(?=[*_]*(?:[.,;:!)]|\s*$|\s+(?:because|since|as|and|while|but)\b)))"
)
_ENDS = r"(?=[.;!]|\s*$|,?\s+(?:because|since|as|not|while)\b)"
"""What follows a letter that is concluded; "so (A) and (B) are wrong" concludes none."""
_SO = r"so|hence|thus|therefore|choose|pick|select|it\s+is|it's|(?:must|would|should)\s+be|(?:correct|right)\s+one\s+is"
_DECIDED = re.compile(
    rf"{_CHOICE}[.:]?\s+(?:is|must\s+be|would\s+be|should\s+be)\s+(?:(?:therefore|thus|indeed|clearly)\s+)?{_RIGHT}"
    rf"|\b(?i:{_SO}),?\s+(?:(?i:option|choice|answer)\s+)?{_CHOICE}{_ENDS}"
    rf"|^[ \t]*{_CHOICE}[.:]?,?\s+(?:because|since)\b",
    re.MULTILINE,
)
"""A letter that is called right or concluded, as in "B is correct", "so (B)." and "(B) because"."""
_UNDECIDED = re.compile(
    r"\b(?:not|never|neither|nor|if|whether|suppose|assum\w+|unless|doubt|wrong|statement|claim)\b|n['’]t\b",
    re.IGNORECASE,
)
"""What in the same clause denies such a letter, or only supposes it."""
_CLAUSE = 60
"""Characters before a letter that are searched for the clause's beginning."""
_LETTER_SHOWN = re.compile(
    rf"\(([A-J])\)(?!(?:\s*(?:,|and\b|or\b)\s*\(?[A-J]\)?){{0,9}}\s+(?:is|are)\s+(?:wrong|incorrect|not|false|too)\b)"
    rf"|^[ \t]*[*_]*([A-J])[*_]*[.):]|^[ \t]*{_OPEN}([A-J]){_CLOSE}\.?[ \t]*$"
    r"|\b(?:[Oo]ption|[Cc]hoice)\s+([A-J])\b|(?<!\bnot )(?<!n['’]t )\b([A-J])[.!*_\s]*\Z",
    re.MULTILINE,
)


def choice_letter(text: str) -> str | None:
    """The letter of a text that is one and no more, such as C, (C) or \\text{(C)}."""
    found = _LETTER.fullmatch(tidy(text)) if len(text) < 40 else None
    return found and found[1]


def leading_letter(text: str) -> str | None:
    """The letter of a choice, perhaps with the text of the choice, as in (C) 12; a small one only in brackets."""
    return _letter(_LEADING_LETTER.match(tidy(text[:LONGEST])))


def last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    found = None
    for found in pattern.finditer(text):  # noqa: B007 - the last one is wanted
        pass
    return found


def last_letter(text: str) -> str | None:
    """The last letter that follows "answer is" or the like, or is called right; else the last one in brackets that is
    not called wrong, after "option", alone on a line or before a bracket there, or at the very end."""
    said = [found for announced in ANNOUNCED.finditer(text) if (found := _LETTER_SAID.match(text, announced.end()))]
    decided = [found for found in _DECIDED.finditer(text) if not _UNDECIDED.search(_clause(text, found.start()))]
    chosen = max([*said[-1:], *decided[-1:]], key=lambda found: found.start(), default=None)
    return _letter(chosen or last(_LETTER_SHOWN, text))


def _letter(found: re.Match[str] | None) -> str | None:
    return found and next(filter(None, found.groups())).upper()


def _clause(text: str, end: int) -> str:
    """What its clause says before `end`."""
    return re.split(r"[.!?;,:\n]", text[max(0, end - _CLAUSE) : end])[-1]
