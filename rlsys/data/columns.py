"""What the columns of one raw row mean: prompt or messages, answer, further fields. Whatever is missing or of the wrong
type is a `BadRow`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from string import Formatter
from typing import Any

from rlsys.config.dataset import DatasetConfig
from rlsys.data import dialogue
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
        """A prompt (text, or messages that end with the user) and its answer, or messages up to the last assistant turn
        and None."""
        if isinstance(self.turns, str) or (self.answer is not None and self.turns[-1]["role"] == "user"):
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


def parse(raw: RawRow, config: DatasetConfig) -> Row:
    """`config.fields` maps our names to the data set's. Raises BadRow, and ConfigError for settings that can't be
    meant."""
    columns = config.fields
    if "prompt" in columns and "messages" in columns:
        raise ConfigError("fields maps both prompt and messages: a row is one or the other; leave one out")
    value = checked(raw, config)
    name = {own: columns.get(own, own) for own in OWN}
    fields = {key: as_text(value[column]) for key, column in columns.items() if key not in OWN}
    answer = _answer(value[name["answer"]], required="answer" in columns) if name["answer"] in value else None
    turns = prompt_of(value, config)
    if turns is None:
        raise no_column(value, "prompt", "messages")
    return Row(turns, answer, fields)


def checked(raw: RawRow, config: DatasetConfig) -> dict[str, Any]:
    """The row's columns, all mapped ones among them."""
    if raw.problem is not None:
        raise BadRow(raw.problem)
    if not isinstance(raw.value, dict):
        raise BadRow(f"a row is an object with columns, this is {kind(raw.value)}")
    asked = dict.fromkeys(format_columns(config), "prompt_format") | dict.fromkeys(config.fields.values(), "fields")
    for column, key in asked.items():
        if column not in raw.value:
            raise BadRow(f"no column {column!r} (there are: {_listed(raw.value)}), and data.*.{key} asks for it")
    return raw.value


def no_column(value: dict[str, Any], *wanted: str) -> BadRow:
    """For a row that has none of the `wanted` columns, of which no setting says what else they are called."""
    return BadRow(
        f"no column {' or '.join(map(repr, wanted))} (there are: {_listed(value)}); data.*.fields says which column is "
        "what"
    )


def _listed(value: dict[str, Any]) -> str:
    return ", ".join(map(repr, value))


def prompt_of(value: dict[str, Any], config: DatasetConfig) -> str | list[Message] | None:
    """A prompt's text or messages; None if the row has no column for either."""
    columns = config.fields
    if config.prompt_format is not None:
        return _prompt(_filled(config.prompt_format, value))
    prompt, messages = columns.get("prompt", "prompt"), columns.get("messages", "messages")
    if "messages" in columns or ("prompt" not in columns and prompt not in value and messages in value):
        return turns_of(value[messages])
    if prompt not in value:
        return None
    return turns_of(value[prompt]) if isinstance(value[prompt], list) else _prompt(value[prompt])


def format_columns(config: DatasetConfig) -> list[str]:
    """Columns that `prompt_format` names. Raises ConfigError for a format that can't be filled, or with a mapping
    beside it."""
    if config.prompt_format is None:
        return []
    doubled = [key for key in ("prompt", "messages") if key in config.fields]
    if doubled:
        raise ConfigError(f"prompt_format makes the prompt, so fields can't map {doubled[0]} too; leave one out")
    try:
        pieces = list(Formatter().parse(config.prompt_format))
    except ValueError as error:
        raise ConfigError(
            f"prompt_format {config.prompt_format!r} can't be read: {error}; literal braces are doubled"
        ) from error
    names = [name for _, name, _, _ in pieces if name is not None]
    if not names or not all(names) or any(spec or conversion for _, _, spec, conversion in pieces):
        raise ConfigError(
            f"prompt_format {config.prompt_format!r} must name columns, as in '{{instruction}}\\n\\n{{input}}', and "
            "nothing else"
        )
    return names


def _filled(template: str, value: dict[str, Any]) -> str:
    """An empty last column leaves no white space behind."""
    text, last = "", None
    for literal, name, _, _ in Formatter().parse(template):
        text, last = text + literal, None
        if name is not None:
            if value[name] is None:
                raise BadRow(f"column {name!r} is null, and prompt_format needs it")
            last = as_text(value[name])
            text += last
    return text if last is None or last.strip() else text.rstrip()


def _prompt(value: Any) -> str:
    if not isinstance(value, str):
        raise BadRow(f"the prompt is {kind(value)}, not text")
    if not value.strip():
        raise BadRow("the prompt is empty")
    return value


def _answer(value: Any, required: bool) -> str | None:
    if value is None and not required:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise BadRow(f"the answer is {kind(value)}, not text or a number")
    if not value.strip():
        raise BadRow("the answer is empty")
    return value


def turns_of(value: Any) -> list[Message]:
    """A list of messages, or a dialogue in one text (see `dialogue`)."""
    if isinstance(value, str):
        return dialogue.parse(value)
    if not isinstance(value, list) or not value:
        raise BadRow(f"messages is {'an empty list' if value == [] else kind(value)}, not a list of turns")
    turns = []
    for number, turn in enumerate(value, start=1):
        if not isinstance(turn, dict) or turn.get("role") not in ROLES:
            raise BadRow(f"turn {number} of the messages has no role among {', '.join(ROLES)}")
        content = turn.get("content")
        if not isinstance(content, str) or not content.strip():
            raise BadRow(
                f"turn {number} of the messages has {'empty text' if isinstance(content, str) else 'no text'} as "
                "content"
            )
        turns.append({"role": turn["role"], "content": content})
    return turns


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def kind(value: Any) -> str:
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
