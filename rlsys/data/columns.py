"""What the columns of one raw row mean: prompt or messages, answer, further fields. Whatever is missing or of the wrong type is a `BadRow`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlsys.data.chat import Message
from rlsys.data.sources import BadRow, RawRow
from rlsys.errors import ConfigError

OWN = ("prompt", "answer", "messages")
ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True)
class Row:
    """A checked row: its `turns` are a prompt's text or a list of messages."""

    turns: str | list[Message]
    answer: str | None
    fields: dict[str, str]

    def prompt(self) -> str | list[Message]:
        """Everything up to the last user turn."""
        if isinstance(self.turns, str):
            return self.turns
        last = max((i for i, message in enumerate(self.turns) if message["role"] == "user"), default=None)
        if last is None:
            raise BadRow("messages without a user turn: no prompt")
        return self.turns[: last + 1]

    def demonstration(self) -> tuple[str | list[Message], str | None]:
        """A prompt and its answer, or messages up to the last assistant turn and None."""
        if isinstance(self.turns, str):
            if self.answer is None:
                raise BadRow("no answer to learn from")
            return self.turns, self.answer
        last = max((i for i, message in enumerate(self.turns) if message["role"] == "assistant"), default=None)
        if last is None:
            raise BadRow("messages without an assistant turn: nothing to learn from")
        return self.turns[: last + 1], None

    def ground_truth(self, after: str | None) -> str | None:
        """The answer, or what follows the last `after` in it, stripped."""
        if self.answer is None or after is None:
            return self.answer
        _, marker, truth = self.answer.rpartition(after)
        if not marker:
            raise BadRow(f"answer without the marker {after!r}")
        if not truth.strip():
            raise BadRow(f"nothing follows the marker {after!r} in the answer")
        return truth.strip()


def parse(raw: RawRow, columns: Mapping[str, str]) -> Row:
    """`columns` maps our names to the data set's. Raises BadRow, and ConfigError for a mapping that can't be meant."""
    if "prompt" in columns and "messages" in columns:
        raise ConfigError("fields maps both prompt and messages: a row is one or the other; leave one out")
    if raw.problem is not None:
        raise BadRow(raw.problem)
    value = raw.value
    if not isinstance(value, dict):
        raise BadRow(f"a row is an object with columns, this is {_kind(value)}")
    absent = [column for column in columns.values() if column not in value]
    if absent:
        raise BadRow(f"no column {absent[0]!r} (there are: {', '.join(map(repr, value))})")
    name = {own: columns.get(own, own) for own in OWN}
    fields = {key: _text(value[column]) for key, column in columns.items() if key not in OWN}
    answer = _answer(value[name["answer"]], required="answer" in columns) if name["answer"] in value else None
    if "messages" in columns or ("prompt" not in columns and name["prompt"] not in value and name["messages"] in value):
        return Row(_messages(value[name["messages"]]), answer, fields)
    if name["prompt"] not in value:
        raise BadRow(
            f"no column 'prompt' or 'messages' (there are: {', '.join(map(repr, value))}); data.*.fields says which column is what"
        )
    return Row(_prompt(value[name["prompt"]]), answer, fields)


def _prompt(value: Any) -> str:
    if not isinstance(value, str):
        raise BadRow(f"the prompt is {_kind(value)}, not text")
    if not value.strip():
        raise BadRow("the prompt is empty")
    return value


def _answer(value: Any, required: bool) -> str | None:
    if value is None and not required:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise BadRow(f"the answer is {_kind(value)}, not text or a number")
    if not value.strip():
        raise BadRow("the answer is empty")
    return value


def _messages(value: Any) -> list[Message]:
    if not isinstance(value, list) or not value:
        raise BadRow(f"messages is {'an empty list' if value == [] else _kind(value)}, not a list of turns")
    turns = []
    for number, turn in enumerate(value, start=1):
        if not isinstance(turn, dict) or turn.get("role") not in ROLES:
            raise BadRow(f"turn {number} of the messages has no role among {', '.join(ROLES)}")
        content = turn.get("content")
        if not isinstance(content, str) or not content.strip():
            raise BadRow(f"turn {number} of the messages has {'empty text' if isinstance(content, str) else 'no text'} as content")
        turns.append({"role": turn["role"], "content": content})
    return turns


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _kind(value: Any) -> str:
    """A JSON name of the value's type."""
    names = {
        "NoneType": "null",
        "dict": "an object",
        "list": "a list",
        "str": "text",
        "bool": "true or false",
        "int": "a number",
        "float": "a number",
    }
    return names.get(type(value).__name__, type(value).__name__)
