"""Whether a response's final answer equals the known one.

What each form is compared by, and what counts as unreadable, is in docs/verifiers.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

from rlsys.answers.form import Answer, Unreadable, read
from rlsys.answers.letters import choice_letter, leading_letter
from rlsys.answers.number import Closeness, Number, same_number
from rlsys.answers.place import known_answer, known_number, lone_number
from rlsys.config.answers import AnswerPlaces

CLOSENESS = Closeness(1e-4, rounded=True)
NEARLY = Closeness(0.1, rounded=True)
"""Of the two sides of \\approx."""
LONGEST_WORDS = 200
"""Characters of a ground truth in words; what is longer is a text, not an answer."""

Algebra = Callable[[Answer, Answer, Closeness], bool]
"""Whether two formulas or equations, or one and a number, are equal."""


class NeedsAlgebra(Exception):
    """Whether two formulas are equal can't be told from their text."""


def truth_problem(text: str | None, rule: AnswerPlaces) -> str | None:
    """Why a ground truth can't be compared with, in words that continue "the ground truth ..."; None where it can."""
    if text is None:
        return "is missing"
    try:
        _read_truth(known_answer(text, rule))
    except Unreadable as error:
        return str(error)
    return None


def equal(truth: str, response: str, closeness: Closeness = CLOSENESS, algebra: Algebra | None = None) -> bool:
    """Of two final answers. Raises Unreadable for a truth that is; a response that is unreadable differs. Raises
    NeedsAlgebra where `algebra` is needed and not given."""
    letter = choice_letter(truth)
    if letter is not None:
        return leading_letter(response) == letter
    known = _read_truth(truth)
    try:
        given = read(response)
    except Unreadable:
        return False
    return _same(known, given, closeness, algebra or _none)


def vote(text: str, truth: str | None = None) -> str:
    """What equal answers have in common, as far as it can be told without algebra; 1,200.0 and 1200 are one. Where the
    truth is a choice letter, it is the letter."""
    letter = leading_letter(text) if truth is not None and choice_letter(truth) else None
    if letter is not None:
        return letter
    try:
        return _vote(read(text))
    except Unreadable:
        return " ".join(text.split())


def _read_truth(text: str) -> Answer:
    known = read(text)
    if known.kind == "words" and (len(text) > LONGEST_WORDS or len(text.strip().splitlines()) > 1):
        raise Unreadable(
            f"is a text of {len(text)} characters, not an answer; say where its answer is with answer_after"
        )
    return known


def _none(truth: Answer, response: Answer, closeness: Closeness) -> bool:
    raise NeedsAlgebra(f"{truth.written} = {response.written}?")


def _vote(answer: Answer) -> str:
    if answer.number is not None:
        return f"{answer.number.value}{'%' * answer.number.percent}"
    if not answer.parts:
        return answer.written
    if answer.kind == "about":
        return _vote(answer.parts[0])
    parts = [_vote(part) for part in answer.parts]
    return f"{answer.kind}{';'.join(sorted(set(parts)) if answer.kind in ('set', 'union') else parts)}"


def _same(truth: Answer, given: Answer, closeness: Closeness, algebra: Algebra) -> bool:
    if len(truth.name) == len(given.name) == 1 and truth.name != given.name:
        return False
    if given.sides is not None and truth.sides is None and not truth.name:
        try:
            given = read(given.sides[1])  # 3 + 4 = 7
        except Unreadable:
            return False
    if given.kind == "about":
        return any(_same(truth, part, closeness, algebra) for part in given.parts) and all(
            _same(_whole(one), _whole(other), NEARLY, algebra) for one, other in pairwise(given.parts)
        )
    if truth.kind == "about":
        return any(_same(part, given, closeness, algebra) for part in truth.parts)
    if truth.kind == given.kind == "words" and truth.written == given.written:
        return True
    known = known_number(truth)
    if known is not None:
        number = given.number or _lone(given)
        if number is not None:
            return same_number(known, number, closeness)
    if truth.kind == given.kind and truth.written == given.written:
        return True
    if truth.parts or given.parts:
        return truth.kind == given.kind and _same_parts(truth, given, closeness, algebra)
    if "formula" in (truth.kind, given.kind) and {truth.kind, given.kind} <= {"formula", "number"}:
        return algebra(truth, given, closeness)
    return False


def _whole(answer: Answer) -> Answer:
    """A whole number as one that may be rounded to that."""
    number = answer.number
    if number is None or number.decimals is not None or number.value.denominator != 1:
        return answer
    return replace(answer, number=replace(number, decimals=0))


def _lone(given: Answer) -> Number | None:
    """The number of a sentence that has only one."""
    return lone_number(given.written) if given.kind == "words" else None


def _same_parts(truth: Answer, given: Answer, closeness: Closeness, algebra: Algebra) -> bool:
    if truth.kind not in ("set", "union"):
        pairs = zip(truth.parts, given.parts, strict=False)
        return len(truth.parts) == len(given.parts) and all(
            _same(one, other, closeness, algebra) for one, other in pairs
        )
    return all(any(_same(one, other, closeness, algebra) for other in given.parts) for one in truth.parts) and all(
        any(_same(one, other, closeness, algebra) for one in truth.parts) for other in given.parts
    )
