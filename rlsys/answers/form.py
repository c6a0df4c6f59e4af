"""The form of an answer: a number, a collection of answers (set, tuple, interval, matrix), a formula or words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from rlsys.answers.bounds import costly, unknown_command
from rlsys.answers.number import MATHEMATICAL, Number, TooLarge, number_of, without_unit
from rlsys.answers.tidy import LONGEST, balanced, closes_at_end, split, tidy, without_spaces

FUNCTIONS = "arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|log|ln|exp|pi"
"""Names that are no words where they stand without a backslash."""
MOST_PARTS = 64
"""Members of a collection."""
MOST_SIDES = 3
"""Values between \\approx, each of which is computed."""
DEEPEST = 4
"""Collections within collections."""

_INTERVALS = ("()", "[]", "[)", "(]")
_BRACKETS = (
    (r"\{", r"\}", "set"),
    ("{", "}", "set"),
    (r"\langle", r"\rangle", "()"),
    *((brackets[0], brackets[1], brackets) for brackets in _INTERVALS),
)
"""How a collection opens and closes, and its kind."""
_LETTERS = r"\([A-Za-z](?:,\s*[A-Za-z])*\)"
_NAME = re.compile(
    rf"((?:\\?[A-Za-z]+|[A-Za-z][A-Za-z ]+)\d?'?(?:_\{{\w+\}}|_\w+)?(?:{_LETTERS})?|{_LETTERS})"
    r"\s*(?:=|\\in(?![A-Za-z])|:(?!\d))\s*(.+)",
    re.DOTALL,
)
_SIDES = re.compile(r"(?<![<>!])=(?!=)")
_LIST = re.compile(r",\s*(?:or|and)\s|\s(?:or|and)\s|[,;]", re.IGNORECASE)
_LIST_OF_THOUSANDS = re.compile(r",\s*(?:or|and)\s|\s(?:or|and)\s|,(?!\d{3}(?!\d))|;", re.IGNORECASE)
_SPACED = re.compile(r",\s|;|\s(?:or|and)\s", re.IGNORECASE)
_OR = re.compile(r",?\s+(?:or|\\lor|\\vee)\s", re.IGNORECASE)
_ABOUT = re.compile(r"\\approx(?![A-Za-z])")
_OF_NUMBERS = re.compile(rf"\\?(?:{FUNCTIONS}|sqrt|frac|binom|cdot|times|div|circ|e)(?![A-Za-z])")
_CUP = re.compile(r"\\cup(?![A-Za-z])")
_COMPARE = re.compile(r"\\le(?![A-Za-z])|\\ge(?![A-Za-z])|<=|>=|<|>")
_MATRIX = re.compile(r"\\begin\{([pbB]?matrix|array)\}(?:\{[^{}]*\})?(.*)\\end\{\1\}", re.DOTALL)
_VARIABLE = re.compile(r"\\?[A-Za-z]+")
_WORD = re.compile(
    rf"(?<![\\A-Za-z])(?!(?:{FUNCTIONS}|min|max|mod|sqrt|infty|circ|frac|cdot|times)(?![A-Za-z]))[A-Za-z]{{3,}}"
)
_INFINITY = re.compile(r"\+?\s*(?:\\infty|\binfinity\b|\binf\b|\boo\b)", re.IGNORECASE)


class Unreadable(ValueError):
    """Why a text is no answer, as in "is empty"."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`written` is what is compared letter by letter: no spaces in formulas, no capitals in words."""

    written: str
    kind: str
    """number, formula, words, set, union, about, matrix RxC, or the brackets of a tuple or interval as in `[)`."""
    number: Number | None = None
    parts: tuple[Answer, ...] = ()
    name: str = ""
    """What stands before `=`, where that is a name, as in x = 5."""
    sides: tuple[str, str] | None = None
    """Of a formula that is an equation between two others."""


@lru_cache(maxsize=4096)
def read(text: str) -> Answer:
    """Raises Unreadable."""
    if len(text) > LONGEST:
        raise Unreadable(f"has {len(text)} characters, and an answer has at most {LONGEST}")
    tidied = tidy(without_unit(text.strip()))
    if not re.search(r"\w|\\[A-Za-z]", tidied):
        raise Unreadable("is empty" if not text.strip() else "holds neither letters nor digits")
    try:
        return _read(tidied, DEEPEST)
    except TooLarge as error:
        raise Unreadable(f"holds {error}") from error


def _read(text: str, depth: int) -> Answer:
    text = _unwrapped(text)
    if not text:
        raise Unreadable("has an empty part")
    number = number_of(text)
    if number is not None:
        return Answer(without_spaces(text), "number", number)
    if depth == 0:
        raise Unreadable(f"nests collections more than {DEEPEST} deep")
    return (
        _matrix(text, depth)
        or _bracketed(text, depth)
        or _named(text, depth)
        or _about(text, depth)
        or _listed(text, depth)
        or _plain(text)
    )


def _unwrapped(text: str) -> str:
    """Without braces or round brackets around everything, which hold no comma."""
    while text[:1] in ("(", "{") and closes_at_end(text) and not re.search("[,;]", text):
        text = text[1:-1].strip()
    return text


def _members(text: str) -> list[str]:
    """Of a list: a comma may stand between thousands only where the list has other separators or spaces after its
    commas."""
    return split(text, _LIST_OF_THOUSANDS if _SPACED.search(text) else _LIST)


def _matrix(text: str, depth: int) -> Answer | None:
    found = _MATRIX.fullmatch(text)
    if found is None:
        return None
    rows = [row for row in found[2].split(r"\\") if row.strip() and row.strip() != r"\hline"]
    return _matrix_of([[_read(cell.strip(), depth - 1) for cell in row.split("&")] for row in rows])


def _matrix_of(rows: list[list[Answer]]) -> Answer:
    if not rows or any(len(row) != len(rows[0]) for row in rows) or len(rows) * len(rows[0]) > MOST_PARTS:
        raise Unreadable(f"is a matrix with rows of different lengths, or with more than {MOST_PARTS} entries")
    return _collection(f"matrix {len(rows)}x{len(rows[0])}", [cell for row in rows for cell in row])


def _bracketed(text: str, depth: int) -> Answer | None:
    """A set, tuple or interval in its brackets."""
    found = [brackets for brackets in _BRACKETS if text.startswith(brackets[0]) and text.endswith(brackets[1])]
    if not found:
        return None
    opening, closing, kind = found[0]
    inside = text[len(opening) : len(text) - len(closing)]
    pieces = _members(inside)
    if (len(pieces) == 1 and kind != "set") or not balanced(inside):
        return None
    parts = [_read(piece.strip(), depth - 1) for piece in pieces]
    if kind == "[]" and all(part.kind == "[]" for part in parts):
        return _matrix_of([list(part.parts) for part in parts])
    return _collection(kind, parts)


def _named(text: str, depth: int) -> Answer | None:
    """What a name stands for, as in x = 5; and intervals that are written as inequalities."""
    found = _NAME.fullmatch(text)
    if found and not _COMPARE.search(text) and len(_members(text)) == 1:
        value = _read(_last_side(found[2]), depth - 1)
        return Answer(value.written, value.kind, value.number, value.parts, found[1].replace(" ", ""), value.sides)
    signs = _COMPARE.findall(text)
    sides = [side.strip() for side in split(text, _COMPARE)]
    if not 2 <= len(sides) <= 3 or len(signs) != len(sides) - 1:
        return None
    if len(sides) == 2:
        return _half_line(sides, signs[0], depth)
    upwards = [sign in ("<", "<=", r"\le") for sign in signs]
    if upwards[0] != upwards[1] or not _VARIABLE.fullmatch(sides[1]):
        return None
    low, high = (0, 2) if upwards[0] else (2, 0)
    open_, close = (signs[0], signs[1]) if upwards[0] else (signs[1], signs[0])
    brackets = ("(" if open_ in "<>" else "[") + (")" if close in "<>" else "]")
    return _collection(brackets, [_read(sides[low], depth - 1), _read(sides[high], depth - 1)], sides[1])


def _half_line(sides: list[str], sign: str, depth: int) -> Answer | None:
    less, strict = sign in ("<", "<=", r"\le"), sign in "<>"
    if not _VARIABLE.fullmatch(sides[0]):
        sides, less = sides[::-1], not less
    if not _VARIABLE.fullmatch(sides[0]):
        return None
    end = _read(sides[1], depth - 1)
    infinity = Answer("-\\infty" if less else "\\infty", "formula")
    if less:
        return _collection("()" if strict else "(]", [infinity, end], sides[0])
    return _collection("()" if strict else "[)", [end, infinity], sides[0])


def _last_side(text: str) -> str:
    return split(text, _SIDES)[-1].strip()


def _about(text: str, depth: int) -> Answer | None:
    """Values that round to one another, as in \\frac{1}{6} \\approx 0.167, without the names before them."""
    sides = [_last_side(side) for side in split(text, _ABOUT)]
    values = [
        side for side in sides if side and (number_of(side) or not re.search("[A-Za-z]", _OF_NUMBERS.sub("", side)))
    ]
    if len(sides) == 1 or not values or any(len(_members(side)) > 1 and number_of(side) is None for side in sides):
        return None
    if len(values) > MOST_SIDES:
        raise Unreadable(f"holds more than {MOST_SIDES} values that are about equal")
    parts = [_read(side, depth - 1) for side in values]
    return parts[0] if len(parts) == 1 else _collection("about", parts)


def _listed(text: str, depth: int) -> Answer | None:
    """A union of intervals, a list without brackets, or what +- stands for."""
    pieces = split(text, _CUP)
    if len(pieces) > 1:
        return _collection("union", [_read(piece.strip(), depth - 1) for piece in pieces])
    pieces = split(text, _OR)
    if len(pieces) > 1 and _COMPARE.search(text):
        parts = [_read(piece.strip(), depth - 1) for piece in pieces]
        if len({part.name for part in parts}) == 1 and all(part.name and part.kind in _INTERVALS for part in parts):
            return _collection("union", parts)
    pieces = [piece for piece in _members(text) if piece.strip()]
    if len(pieces) > 1:
        return _collection("set", [_read(piece.strip(), depth - 1) for piece in pieces[: MOST_PARTS + 1]])
    if r"\pm" in text:
        return _collection("set", [_read(text.replace(r"\pm", sign).strip(), depth - 1) for sign in "+-"])
    return None


def _plain(text: str) -> Answer:
    """Words, or a formula."""
    infinite = _INFINITY.sub(lambda _: r"\infty", text)
    plain = not MATHEMATICAL.search(infinite) and infinite != "pi"
    if _WORD.search(infinite) or (plain and re.search(r"[A-Za-z]{2}|^[A-Z]$", infinite)):
        return Answer(" ".join(text.casefold().split()).strip(" '\"?()"), "words")
    text = infinite
    if not balanced(text):
        raise Unreadable("has a bracket that is not closed")
    if command := unknown_command(text):
        raise Unreadable(f"holds {command}, which is not known")
    if reason := costly(text):
        raise Unreadable(f"holds {reason}")
    if re.search(r"[-+*/^_=]$|^[*/^_=]|\d\s+\d", text):
        raise Unreadable("is no whole formula")
    sides = [side.strip() for side in split(text, _SIDES)]
    return Answer(without_spaces(text), "formula", sides=(sides[0], sides[-1]) if len(sides) > 1 else None)


def _collection(kind: str, parts: list[Answer], name: str = "") -> Answer:
    if len(parts) > MOST_PARTS:
        raise Unreadable(f"has more than {MOST_PARTS} parts")
    if kind == "set" and len({part.written if part.number is None else part.number.value for part in parts}) == 1:
        return parts[0]
    return Answer(f"{kind}{';'.join(part.written for part in parts)}", kind, parts=tuple(parts), name=name)
