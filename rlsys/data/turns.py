"""Messages in the forms that people keep them in, as dicts of `role`, `content` and whatever else they say."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from rlsys.data import dialogue
from rlsys.data.messages import Message, checked_messages
from rlsys.data.raw import BadRow
from rlsys.data.values import kind

SPEAKERS = {
    **dict.fromkeys(("human", "prompter"), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "bard", "bing", "bot", "model", "ai"), "assistant"),
    **dict.fromkeys(("observation", "function", "function_response"), "tool"),
}
"""What ShareGPT and its relatives call the roles, where they call them otherwise."""


def turns_of(value: Any) -> list[Message]:
    """A list of messages, or a dialogue in one text (see `dialogue`); a single message is a list of one. ShareGPT's
    keys `from` and `value` become `role` and `content`, content in parts becomes one text, and all other keys stay.
    Raises BadRow."""
    if isinstance(value, str):
        return dialogue.parse(value)
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list) or not value:
        raise BadRow(f"messages is {'an empty list' if value == [] else kind(value)}, not a list of turns")
    return checked_messages([_named(turn, place) for place, turn in enumerate(value, start=1)])


def is_sharegpt(value: Any) -> bool:
    """Whether it is a list of ShareGPT's turns, which have `from` and `value`."""
    return (
        isinstance(value, list)
        and bool(value)
        and isinstance(value[0], dict)
        and "from" in value[0]
        and "role" not in value[0]
    )


def _named(turn: Any, place: int) -> Any:
    if not isinstance(turn, dict):
        return turn
    if "from" in turn and "role" not in turn:
        names = {"from": "role", "value": "content"}
        turn = {names.get(key, key): item for key, item in turn.items()}
    role, content = turn.get("role"), turn.get("content")
    if isinstance(role, str):
        turn = {**turn, "role": SPEAKERS.get(role, role)}
    return {**turn, "content": _joined(content, place)} if isinstance(content, list) else turn


def _joined(parts: Sequence[Any], place: int) -> str:
    """Parts of text stand directly one after the other."""
    texts = []
    for part in parts:
        text = part.get("text") if isinstance(part, dict) and part.get("type", "text") == "text" else part
        if not isinstance(text, str):
            what = f"of type {part['type']!r}" if isinstance(part, dict) and "type" in part else f"that is {kind(part)}"
            raise BadRow(f"turn {place} of the messages has a part {what} as content, and only text can be used")
        texts.append(text)
    return "".join(texts)


def reply(value: Any, prompt: str | Sequence[Message], name: str) -> str | list[Message]:
    """An answer to the prompt: its text, or messages that are the answer, or that begin with the prompt. Raises
    BadRow."""
    if not isinstance(value, (list, dict)):
        if not isinstance(value, str):
            raise BadRow(f"{name} is {kind(value)}, not text")
        if not value.strip():
            raise BadRow(f"{name} is empty")
        return value
    try:
        messages = turns_of(value)
    except BadRow as error:
        raise BadRow(f"{name}: {error}") from error
    before = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    for asked in (before, [turn for turn in before if turn["role"] != "system"]):
        if messages[: len(asked)] == asked:
            return messages[len(asked) :]
    return messages


def as_answer(messages: Sequence[Message]) -> str | Message | None:
    """The one assistant message that they are: its text, or the message itself where it says more; None if they are not
    one."""
    if len(messages) != 1 or messages[0]["role"] != "assistant":
        return None
    (message,) = messages
    more = [key for key, item in message.items() if key not in ("role", "content") and item not in (None, [], {})]
    return message if more or not isinstance(message["content"], str) else message["content"]


def with_system(turns: str | list[Message], system: str | None) -> str | list[Message]:
    return turns if system is None else after_systems([{"role": "system", "content": system}], turns)


def after_systems(systems: Sequence[Message], turns: str | Sequence[Message]) -> list[Message]:
    """The turns behind these of the system, of which none is said twice."""
    own = [{"role": "user", "content": turns}] if isinstance(turns, str) else turns
    return [*(system for system in systems if system not in leading_systems(own)), *own]


def leading_systems(turns: Sequence[Message]) -> list[Message]:
    return list(takewhile(lambda turn: turn["role"] == "system", turns))
