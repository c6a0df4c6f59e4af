"""What of a row is compared and judged, whatever its format: a prompt and answers, as texts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rlsys.config.dataset import DatasetConfig
from rlsys.data import comparisons, tasks
from rlsys.data.columns import parse
from rlsys.data.messages import Message
from rlsys.data.nested import ABSENT, look
from rlsys.data.raw import BadRow, RawRow
from rlsys.data.reading import LISTS, checked

Kind = Literal["comparison", "labelled", "task", "text", "answered", "prompt"]


@dataclass(frozen=True, slots=True)
class View:
    kind: Kind
    prompt: str
    """Messages stand one below the other; empty for raw text."""
    answers: tuple[str, ...]
    """Of a comparison the best one first; raw text is one answer."""
    roles: tuple[str, ...] = ()
    """Of the messages, in order; none where the row has no messages."""

    @property
    def text(self) -> str:
        return "\n".join((self.prompt, *self.answers))


def view_of(raw: RawRow, config: DatasetConfig) -> View:
    """Raises BadRow for a row that no method could read."""
    value = raw.value if isinstance(raw.value, dict) else {}

    def has(own: str) -> bool:
        return look(value, config.fields.get(own, own)) is not ABSENT

    if (has("chosen") and has("rejected")) or has("answers"):
        return _comparison(raw, config)
    if has("instruction") and has("instances"):
        task = tasks.parse(raw, config, "")
        asked = "\n".join((task.instruction, *(one.input for one in task.instances)))
        return View("task", asked, tuple(one.output for one in task.instances))
    asked = config.makes_prompts or has("prompt") or has("messages") or any(map(has, LISTS))
    if not asked and has("text") and not has("instruction"):
        return _raw_text(raw, config)
    labelled = has("completion") and has("label")
    if labelled:  # of a bad answer, too, which nobody would imitate
        label = config.fields.get("label", "label")
        fields = {key: column for key, column in config.fields.items() if key != "label"}
        config = config.model_copy(update={"ignore": (*config.ignore, label), "fields": fields})
    row = parse(raw, config, learn=True)
    roles = () if isinstance(row.turns, str) else tuple(turn["role"] for turn in row.turns)
    if row.answer is not None:
        answer = row.answer if isinstance(row.answer, str) else _said([row.answer])
        return View("labelled" if labelled else "answered", _prompt(row.turns), (answer,), roles)
    if roles[-1:] == ("assistant",):
        assert not isinstance(row.turns, str)
        return View("answered", _said(row.turns[:-1]), (_said(row.turns[-1:]),), roles)
    return View("prompt", _prompt(row.turns), (), roles)


def _comparison(raw: RawRow, config: DatasetConfig) -> View:
    found = comparisons.parse(raw, config)
    answers = [answer if isinstance(answer, str) else _said([answer]) for answer in found.answers]
    order = sorted(range(len(answers)), key=lambda place: -found.grades[place])
    roles = () if isinstance(found.prompt, str) else (*(turn["role"] for turn in found.prompt), "assistant")
    return View("comparison", _prompt(found.prompt), tuple(answers[place] for place in order), roles)


def _raw_text(raw: RawRow, config: DatasetConfig) -> View:
    text = checked(raw, config)[config.fields.get("text", "text")]
    if not isinstance(text, str) or not text.strip():
        raise BadRow("the text is empty, or no text")
    return View("text", "", (text,))


def _prompt(turns: str | Sequence[Message]) -> str:
    return turns if isinstance(turns, str) else _said(turns)


def _said(turns: Sequence[Message]) -> str:
    return "\n".join(_content(turn) for turn in turns)


def _content(turn: Message) -> str:
    """And all that the turn says beside its text: two calls of a tool with other arguments are not the same."""
    more: dict[str, Any] = {key: turn[key] for key in turn if key not in ("role", "content", "weight")}
    said = turn["content"]
    return f"{said} {json.dumps(more, ensure_ascii=False, sort_keys=True, default=str)}" if more else said
