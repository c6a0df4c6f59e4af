"""Rules that need to know no language: each says why a row is dropped, and none repeats what the row says."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Callable
from typing import Any, Literal

from rlsys import registry
from rlsys.curation.settings import QualityConfig
from rlsys.curation.view import View
from rlsys.data.nested import ABSENT, look
from rlsys.data.raw import BadRow
from rlsys.data.values import number
from rlsys.errors import ConfigError
from rlsys.rewards import evasive, format
from rlsys.samples import Abstention, Prompt, Trajectory

Reason = Literal[
    "short", "long", "roles", "repetition", "symbols", "truncated", "unclosed", "refused", "form", "score", "rule"
]
ENOUGH_BYTES, ENOUGH_CHARS, MOST_CHARS = 200, 20, 50_000
"""Fewer bytes tell nothing of repetition, fewer characters nothing of symbols; of a longer text its beginning is
judged."""
REFUSAL_CHARS = 300
"""A refusal stands at the beginning of an answer."""
SYMBOLS = re.compile(r"[^\w\s]+")
SENTENCE_ENDS = re.compile(r"[.!?。!?…](?=\s|$|[\"'”»)])|[。!?]")
BREAKS_OFF = re.compile(r"(?:[^\W\d_]|[,;:(\[{&-])$")
ADDRESS = re.compile(r"[\w-][./@][^\s]+$")
LIST_LINE = re.compile(r"\s*(?:[-*•#|>]|\d+[.)])")
FENCE = re.compile(r"^\s*(?:```|~~~)", re.MULTILINE)
FORMULAS = ((r"\[", r"\]"), (r"\(", r"\)"), (r"\begin{", r"\end{"))


class Quality:
    """Judges one row after the other. Raises ConfigError for rules that can't be found."""

    def __init__(self, config: QualityConfig) -> None:
        self.config = config
        self._rules: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
            (name, registry.resolve("rlsys.curation", name, "rule")) for name in config.rules
        ]
        self._refusal = evasive.Reward(evasive.Config())
        self._form = None if config.form is None else format.Reward(config.form)

    def problem(self, view: View, value: Any) -> tuple[Reason, str] | None:
        """Why the row is dropped, in a word and in more; None if it stays. `value`: the row as it was read."""
        return (
            self._length(view)
            or (_roles(view.roles) if self.config.roles else None)
            or next((found for text in _judged(view) if (found := self._text(text, view))), None)
            or self._score(value)
            or self._rule(value)
        )

    def _length(self, view: View) -> tuple[Reason, str] | None:
        config, size = self.config, len(view.prompt.strip())
        if view.kind != "text" and size < config.min_prompt_chars:
            return "short", f"prompt of {size} characters"
        if config.max_prompt_chars is not None and size > config.max_prompt_chars:
            return "long", f"prompt of {size} characters"
        for size in (len(answer.strip()) for answer in view.answers):
            if size < config.min_answer_chars:
                return "short", f"answer of {size} characters"
            if config.max_answer_chars is not None and size > config.max_answer_chars:
                return "long", f"answer of {size} characters"
        return None

    def _text(self, text: str, view: View) -> tuple[Reason, str] | None:
        config, start = self.config, text[:MOST_CHARS]
        if config.max_repetition is not None and (share := repetition(start)) > config.max_repetition:
            return "repetition", f"compresses by {share:.0%}"
        if config.max_symbols is not None and (share := symbols(start)) > config.max_symbols:
            return "symbols", f"{share:.0%} of the characters"
        if config.unclosed and (what := unclosed(text)):
            return "unclosed", what
        if config.truncated and view.kind != "text" and truncated(text):
            return "truncated", "ends in the middle of a sentence"
        if config.refused == "drop" and view.kind != "text" and self._refuses(text):
            return "refused", "sounds like a refusal"
        if self._form is not None:
            found = self._form.score(NOBODY, _sampled(text))
            if isinstance(found, Abstention) or not found.value:
                return "form", found.reason if isinstance(found, Abstention) else "has not the asked form"
        return None

    def sounds_refused(self, view: View) -> bool:
        """Whether the answer, or the chosen one, sounds like a refusal, where that is asked for."""
        return self.config.refused is not None and view.kind != "text" and any(map(self._refuses, _judged(view)))

    def _refuses(self, text: str) -> bool:
        found = self._refusal.score(NOBODY, _sampled(text[:REFUSAL_CHARS]))
        return not isinstance(found, Abstention) and found.value == 1.0

    def _score(self, value: Any) -> tuple[Reason, str] | None:
        config = self.config
        if config.score is None:
            return None
        given = look(value, config.score) if isinstance(value, dict) else ABSENT
        try:
            score = number(None if given is ABSENT else given, config.score)
        except BadRow:
            return "score", f"no {config.score}"
        low = config.min_score is not None and score < config.min_score
        high = config.max_score is not None and score > config.max_score
        return ("score", f"{config.score} {score:g}") if low or high else None

    def _rule(self, value: Any) -> tuple[Reason, str] | None:
        for name, rule in self._rules:
            try:
                said = rule(value)
            except Exception as error:  # whatever a user's own code raises
                raise ConfigError(f"quality.rules: {name} raised {type(error).__name__}: {error}") from error
            if said is not None and not isinstance(said, str):
                raise ConfigError(f"quality.rules: {name} gave {said!r}; it says why the row is dropped, or None")
            if said is not None:
                return "rule", f"{name}: {said}"
        return None


def repetition(text: str) -> float:
    """Share of the bytes that zlib does without; 0 of a short text."""
    data = text.encode("utf-8", "replace")
    return 1 - len(zlib.compress(data, 1)) / len(data) if len(data) >= ENOUGH_BYTES else 0.0


def symbols(text: str) -> float:
    """Share of the characters that are no white space and are punctuation or symbols; 0 of a short text."""
    size = sum(map(len, text.split()))
    if size < ENOUGH_CHARS:
        return 0.0
    if text.isascii():
        return sum(map(len, SYMBOLS.findall(text))) / size
    return sum(unicodedata.category(char)[0] in "PS" for char in text) / size


def truncated(text: str) -> bool:
    """Whether the last line has a whole sentence and then ends in a letter, or in what something must follow. An item
    of a list, a heading, a cell and an address of the web may."""
    end = text.rstrip()
    last = end[end.rfind("\n") + 1 :]
    if not BREAKS_OFF.search(last) or not SENTENCE_ENDS.search(last):
        return False
    return not LIST_LINE.match(last) and not ADDRESS.search(last)


def unclosed(text: str) -> str | None:
    """What is opened and not closed."""
    if len(FENCE.findall(text)) % 2:
        return "a block of code"
    outside = re.sub(r"^\s*(```|~~~)[\s\S]*?^\s*\1", "", text, flags=re.MULTILINE)
    if outside.count("$$") % 2:
        return "$$"
    return next((opening for opening, closing in FORMULAS if outside.count(opening) > outside.count(closing)), None)


def _roles(roles: tuple[str, ...]) -> tuple[Reason, str] | None:
    """Dialogues in which the sides take turns, after at most one system turn; tools answer the assistant."""
    before = "start"
    allowed = {
        "start": ("system", "developer", "user"),
        "system": ("user",),
        "developer": ("user",),
        "user": ("assistant",),
        "assistant": ("user", "tool"),
        "tool": ("tool", "assistant"),
    }
    for place, role in enumerate(roles, start=1):
        if role not in allowed[before]:
            return "roles", f"turn {place} is the {role}'s, after {before if before == 'start' else f'the {before}'}"
        before = role
    return None


def _judged(view: View) -> tuple[str, ...]:
    """What would be imitated: of a comparison the best answer; of labelled answers some are meant to be bad."""
    return view.answers[:1] if view.kind == "comparison" else () if view.kind == "labelled" else view.answers


NOBODY = Prompt("", "", ())


def _sampled(text: str) -> Trajectory:
    """As rewards read it."""
    return Trajectory("", "", 0, [], [], [], [], "stop", text)
