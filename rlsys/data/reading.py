"""The columns of a raw row before any is read: without those that are ignored, with messages as such where they are
JSON in a text."""

from __future__ import annotations

import json
import re
from functools import reduce
from typing import Any

from rlsys.config.dataset import DatasetConfig
from rlsys.data.messages import ROLES, check_whole
from rlsys.data.nested import find, without
from rlsys.data.prompt_format import format_columns
from rlsys.data.raw import BadRow, RawRow
from rlsys.data.turns import SPEAKERS
from rlsys.data.values import kind
from rlsys.errors import ConfigError

LISTS = ("messages", "conversations", "conversation")
"""What a column of messages is called."""
SPOKEN = ("prompt", "completion", "answer", "chosen", "rejected", "answers")
"""What may be a text or messages."""
NEEDED = ("role", "content", "from", "value")
MORE = {
    "history": "earlier turns",
    "chat_template_kwargs": "settings of the chat template",
    **dict.fromkeys(("image", "images"), "pictures"),
    **dict.fromkeys(("audios", "videos"), "recordings"),
}
"""Columns that change what the rest of the row says, and that nothing here can show."""
KEY = re.compile(r"""['"](role|from)['"]\s*:""")


def checked(raw: RawRow, config: DatasetConfig) -> dict[str, Any]:
    """The row's columns but those that are ignored, and all mapped ones, nested ones under their dotted names."""
    if raw.problem is not None:
        raise BadRow(raw.problem)
    if not isinstance(raw.value, dict):
        raise BadRow(f"a row is an object with columns, this is {kind(raw.value)}")
    value: dict[str, Any] = reduce(without, config.ignore, raw.value)
    for column, item in value.items():
        check_whole(item, f"the column {column!r}")
    made = "templates" if config.templates else "prompt_format"
    asked = dict.fromkeys(format_columns(config), made) | dict.fromkeys(config.fields.values(), "fields")
    return value | {column: find(value, column, key) for column, key in asked.items() if column not in value}


def spoken(raw: RawRow, config: DatasetConfig) -> dict[str, Any]:
    """As `checked`, of a row in which people speak: messages in JSON are messages, and lack the keys that are ignored.
    Raises BadRow for columns that say more than can be shown, and for messages that can't be read."""
    value, keys = checked(raw, config), ignored(config)[1]
    read = {*config.fields.values(), *format_columns(config)}
    for column, what in MORE.items():
        if column not in read and _says_something(value.get(column)):
            raise BadRow(
                f"the column {column!r} has {what}, which can't be shown; data.*.ignore: [{column}] leaves them out"
            )
    for column in [column for column in value if column in _columns(config) - {*format_columns(config)}]:
        item = value[column]
        if isinstance(item, str):
            item = _unpacked(item, column, column in (*LISTS, config.fields.get("messages")))
        value[column] = _without_keys(item, keys) if keys else item
    return value


def ignored(config: DatasetConfig) -> tuple[list[str], frozenset[str]]:
    """The columns, perhaps within others, and the keys of messages that are left out: `messages.name` is a key of the
    messages in every column. Raises ConfigError for what every message needs."""
    columns, keys = [], set[str]()
    for name in config.ignore:
        head, _, key = name.partition(".")
        if not key or head not in _columns(config):
            columns.append(name)
            continue
        if key in NEEDED:
            raise ConfigError(f"{config.path}: ignore names {name!r}, and nothing is left of a message without it")
        keys.add(key)
    return columns, frozenset(keys)


def _columns(config: DatasetConfig) -> set[str]:
    return {*LISTS, *(config.fields.get(own, own) for own in (*SPOKEN, "messages"))}


def _says_something(item: Any) -> bool:
    """A flag or a name does not: `image: false`, `history: medieval`."""
    if isinstance(item, str):
        return item.lstrip()[:1] in ("[", "{") and item.strip() not in ("[]", "{}")
    return not isinstance(item, (bool, int, float)) and bool(item)


def _unpacked(text: str, column: str, certain: bool) -> Any:
    """The messages whose JSON it is, or else the text. `certain`: it can't be meant as text."""
    if not text.lstrip().startswith(("[", "{")):
        return text
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        if KEY.search(text) or certain:
            raise BadRow(f"the column {column!r} looks like messages, and is broken JSON: {error}") from error
        return text
    return found if certain or _is_message(found[0] if isinstance(found, list) and found else found) else text


def _is_message(item: Any) -> bool:
    if not isinstance(item, dict) or not item.keys() & {"content", "value", "tool_calls", "function_call"}:
        return False
    return item.get("role", item.get("from")) in (*ROLES, *SPEAKERS)


def _without_keys(item: Any, keys: frozenset[str]) -> Any:
    if isinstance(item, list):
        return [_without_keys(inner, keys) for inner in item]
    return {key: inner for key, inner in item.items() if key not in keys} if isinstance(item, dict) else item
