"""Where the final answer of a text is: one rule, for rewards, evaluation, rejection sampling and maj@k."""

from __future__ import annotations

import re
from collections.abc import Callable

from rlsys.answers.form import Answer, Unreadable, read
from rlsys.answers.letters import ANNOUNCED, choice_letter, last, last_letter
from rlsys.answers.number import Number, TooLarge, number_of
from rlsys.answers.units import FOLLOWING
from rlsys.config.answers import AnswerPlaces, Place

_THINK, _THOUGHT = "<think>", "</think>"
_TAG = re.compile(r"<(\w+)>")
_OPENS = ("$$", r"\[", r"\begin")
_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")
_BARE_BOX = re.compile(r"[^\s${}\\]+")
_BETWEEN = re.compile(
    r"(?:[\s$,;&]|\\[()\[\],;!: ]|\\q?quad(?![A-Za-z])|\\text\s*\{[\s,]*(?:or|and)?[\s,]*\}|or\b|and\b)*"
)
"""What may stand between boxes that are one answer."""
_NAME_BEFORE = re.compile(r"(\\?[A-Za-z]+)(?:_\{?\w{1,3}\}?)?\s*=\s*\Z")
_LONGEST_NAME = 20
"""Characters, with its `=`."""
_SENTENCE_END = re.compile(r"[.!?](?:[*_]*)(?:\s|$)|[\n。]|</answer>")
_DIGITS = r"(?:[1-9]\d{0,2}(?:(?:,|\{,\}|\\,|,?\\!)\d{3})+(?!\d)|\d+(?!\d))(?:\.\d+)?|\.\d+"
_FRAC = r"\\[dtc]?frac\s*(?:\{\s*-?[\d.,]+\s*\}\s*\{\s*[\d.,]*\d\s*\}|\d\s*\d)"
_RAISED = r"[⁻⁺⁰¹²³⁴-⁹]+"
_TO = rf"(?:{_RAISED}|\^\s*(?:\{{\s*-?\d+\s*\}}|-?\d+))"
_POWER = rf"(?:{_TO}|[eE][-+]?\d+(?!\w)|\s*(?:\\times|\\cdot|×|x)\s*10\s*{_TO})"
_OVER = rf"(?:\s+(?:and\s+)?|\s*(?=\\))(?:{_FRAC}|\d+/\d+(?!\d))|\s*/\s*\d+(?:\.\d+)?{_POWER}?(?!\s*/)"
_NUMBER = re.compile(
    r"(?<![A-Za-z0-9_^])(?<!\^\{)(?<!\d[.,])(?:(?<![\w)}\]])[-−]\s?)?(?:\\?\$\s?-?)?"
    rf"(?:(?:{_DIGITS}){_POWER}?(?:{_OVER})?|{_FRAC})"
    r"(?:\s?\\?%|\s(?:thousand|million|billion|trillion)\b)?"
)
"""A whole number, decimal, fraction, mixed number or power, with its sign, currency and percent sign."""
_MEASURED = re.compile(rf"((?:(?:(?<![\w)}}\]])[-−]\s?)?[€£¥₹]\s?)?{_NUMBER.pattern})({FOLLOWING})?")
"""A number with its currency, and the known unit that follows it."""
_VARIABLES = re.compile(r"\b[abcxyz]+\b")
_SEVERAL = re.compile(r"\d")
_NOT_LONE = re.compile(
    r"\b(?:not|no|plus|minus|times|more|less|fewer|over|under|than|least|most|half|twice|double)\b|[=<>+*^/]",
    re.IGNORECASE,
)


def after_thinking(text: str, asked: str = "") -> str | None:
    """What stands after the last `</think>`; None where a thought does not end. `asked` is the prompt, which may have
    begun it."""
    thought = _THINK if asked.rstrip().endswith(_THINK) else ""
    text = f"{thought}{text}".rpartition(_THOUGHT)[2]
    return None if _THINK in text else text


def final_answer(text: str, rule: AnswerPlaces, truth: str | None = None, asked: str = "") -> str | None:
    """Of a response, at the first place of `rule` that the text has; None where it has none of them, or nothing is
    there. Places that depend on what the truth is are for letters, numbers or the rest; without a truth, for numbers.
    What stands before the last `</think>` is no part of it, and a thought that does not end has no answer; `asked` is
    the prompt, which may have begun it."""
    after = after_thinking(text, asked)
    if after is None:
        return None
    text = after
    kind, find = _looked_for(truth)
    for place in rule.answer_places:
        found = find(text) if place == kind else _marked(place, text, rule.answer_after)
        if found is not None:
            return found.strip() or None
    return None


def known_answer(truth: str, rule: AnswerPlaces) -> str:
    """The final answer of a ground truth, whether that is a worked solution or the answer alone: all of it, where it
    has neither the marker nor a \\boxed{}. Its last number would not do: "x^2 + 1" is not 1."""
    for place in rule.answer_places:
        found = _marked(place, truth, rule.answer_after)
        if found is not None:
            return found.strip()
    return truth.strip()


def known_number(truth: Answer) -> Number | None:
    """Of a ground truth, also of one that begins with the only number it holds, as in "60 beats/min"."""
    if truth.kind != "words":
        return truth.number
    found = _MEASURED.match(truth.written)
    if found is None or truth.written[found.end(1) : found.end(1) + 1] != " " or _VARIABLES.search(truth.written):
        return None
    return lone_number(truth.written)


def lone_number(text: str) -> Number | None:
    """The number of a sentence that holds one and says nothing else about it, as in "$18 every day"."""
    found = _MEASURED.findall(text)
    rest = _MEASURED.sub(" ", text)
    if len(found) != 1 or _SEVERAL.search(rest) or _NOT_LONE.search(rest):
        return None
    try:
        return number_of(" ".join(found[0]).replace("$", "").strip())
    except TooLarge:
        return None


def _looked_for(truth: str | None) -> tuple[Place, Callable[[str], str | None]]:
    """The place that is for such a truth, and what finds it in a text."""
    if truth is None:
        return "number", _last_number
    if choice_letter(truth) is not None:
        return "letter", last_letter
    try:
        number = known_number(read(truth))
    except Unreadable:
        number = None
    if number is None:
        return "statement", _statement
    return "number", _last_measure if number.unit or number.percent else _last_number


def _marked(place: Place, text: str, marker: str | None) -> str | None:
    """What the text has at the place `marker` or `box`, perhaps nothing (""); None where it has no such place."""
    if place == "marker" and marker is not None:
        return _after(text, marker)
    return _boxed(text) if place == "box" else None


def _after(text: str, marker: str) -> str | None:
    """The line after the last marker; all of it where a formula or an environment opens there, and up to the closing
    tag after an opening one."""
    _, found, rest = text.rpartition(marker)
    if not found:
        return None
    if tag := _TAG.fullmatch(marker.strip()):
        return rest.partition(f"</{tag[1]}>")[0]
    rest = rest.strip()
    return rest if rest.startswith(_OPENS) else rest.partition("\n")[0]


def _boxed(text: str) -> str | None:
    """What the last \\boxed{} holds; of boxes with nothing but a comma, `or` or `and` between them, all of it, even if
    each follows the same name, as in x = . A box that does not close holds nothing."""
    closing = _closing(text) if "boxed" in text or "fbox" in text else {}
    run: list[str] = []
    end, found, name = 0, False, ""
    for box in _BOX.finditer(text):
        if box.start() < end:  # within the box before
            continue
        named = _NAME_BEFORE.search(text[max(end, box.start() - _LONGEST_NAME) : box.start()])
        start = box.start() - len(named.group()) if named else box.start()
        if not found or (named and named[1] != name) or not _BETWEEN.fullmatch(text, end, start):
            run, name = [], named[1] if named else ""
        found = True
        if text[box.end() : box.end() + 1] == "{":
            end = closing.get(box.end(), -1) + 1
            content = text[box.end() + 1 : end - 1] if end else ""
            end = end or box.end()
        else:
            bare = _BARE_BOX.match(text, box.end())
            content, end = (bare.group(), bare.end()) if bare else ("", box.end())
        run.append(content.strip())
    if not found:
        return None
    return ", ".join(dict.fromkeys(run)) if all(run) else ""


def _closing(text: str) -> dict[int, int]:
    """Where each opening brace closes, by its place."""
    found, open_ = {}, []
    for token in re.finditer(r"\\.|[{}]", text, re.DOTALL):
        if token.group() == "{":
            open_.append(token.start())
        elif token.group() == "}" and open_:
            found[open_.pop()] = token.start()
    return found


def _last_number(text: str) -> str | None:
    found = last(_NUMBER, text)
    return found and _without_delimiter(found.group(), text, found.end())


def _last_measure(text: str) -> str | None:
    """With its unit."""
    found = last(_MEASURED, text)
    if found is None or found[2] is None:
        return found and _without_delimiter(found[1], text, found.end())
    unit = found[2].strip(" $")
    return f"{_without_delimiter(found[1], text, found.end(1) if '$' in found[2] else found.end())} {unit}"


def _without_delimiter(number: str, text: str, end: int) -> str:
    """A dollar before a number is no currency where another one ends the formula."""
    return number.removeprefix("$").strip() if text.startswith("$", end) else number


def _statement(text: str) -> str | None:
    """What follows the last "answer is" in its sentence; else the last formula between dollars or brackets; else the
    text, where it is one line."""
    announced = last(ANNOUNCED, text)
    if announced is not None:
        rest = text[announced.end() :].lstrip()
        end = _SENTENCE_END.search(rest)
        return rest[: end.start()] if end else rest
    formula = _last_formula(text)
    if formula is not None:
        return formula
    return text if len(text.strip().splitlines()) == 1 else None


def _last_formula(text: str) -> str | None:
    found: tuple[int, str] | None = None
    for opening, closing in (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]")):
        end = text.rfind(closing)
        start = text.rfind(opening, 0, max(end, 0))
        if start >= 0 and text[start + len(opening) : end].strip() and (found is None or end > found[0]):
            found = end, text[start + len(opening) : end]
    return found and found[1]
