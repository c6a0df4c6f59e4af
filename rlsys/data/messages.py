"""Messages of a dialogue: what each must say, and what it may say beside its role and text."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from rlsys.data.raw import BadRow
from rlsys.data.values import kind, present, truth

Message = dict[str, Any]
"""`role`, `content` (text), `weight: 0` on a turn of the assistant that is not to be trained, and whatever else a chat
template may show."""
ROLES = ("system", "developer", "user", "assistant", "tool")
WEIGHTS = ("weight", "train")
"""Keys that say whether a turn is trained."""
CALLS = ("tool_calls", "function_call")
"""The second is what a single call was called earlier."""
HALF = re.compile("[\ud800-\udfff]")


def checked_messages(turns: Sequence[Any]) -> list[Message]:
    """Each has a role of `ROLES` and text as content; a turn with tool calls, and a tool's result, may be empty. Keys
    that say nothing (null, an empty list) are gone. Tool calls, and a `function_call`, have the form {type: function,
    function: {name, arguments}}, and arguments in JSON are parsed. Raises BadRow."""
    return [_checked(turn, f"turn {number} of the messages") for number, turn in enumerate(turns, start=1)]


def check_whole(value: Any, name: str) -> None:
    """Raises BadRow for half a character (a lone surrogate, as of an emoji that was cut) in a text, or in one within:
    no tokenizer can read it."""
    for item in (
        [*value.keys(), *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        check_whole(item, name)
    half = HALF.search(value) if isinstance(value, str) else None
    if half is not None:
        raise BadRow(f"{name} has half a character (\\u{ord(half[0]):04x})")


def check_numbers(value: Any, name: str, what: str) -> None:
    """Raises BadRow for NaN or infinity in what templates show as JSON."""
    try:
        json.dumps(value, allow_nan=False, default=str)
    except ValueError as error:
        raise BadRow(f"{name} has NaN or infinity in its {what}, which JSON does not have") from error


def _checked(turn: Any, name: str) -> Message:
    if not isinstance(turn, dict) or turn.get("role") not in ROLES:
        raise BadRow(f"{name} has no role among {', '.join(ROLES)}")
    role, content = turn["role"], present(turn.get("content"))
    message: Message = {"role": role, "content": "" if content is None else content}
    for key, value in turn.items():
        if key not in ("role", "content", *WEIGHTS) and present(value) not in (None, "", [], {}):
            message |= _tool_calls(value, role, name) if key in CALLS else {key: value}
    if not _is_trained(turn, name):
        message["weight"] = 0
    may_be_empty = "tool_calls" in message or role == "tool"
    if not isinstance(message["content"], str) or (content is None and not may_be_empty):
        raise BadRow(f"{name} has no text as content")
    if not message["content"].strip() and not may_be_empty:
        raise BadRow(f"{name} has empty text as content")
    return message


def _is_trained(turn: Message, name: str) -> bool:
    """What `weight` (0 or 1) and `train` (true or false) say; only the assistant's turns can be trained."""
    said = {key: turn[key] for key in WEIGHTS if present(turn.get(key)) is not None}
    for key, value in said.items():
        trained = truth(value)
        if trained is None:
            raise BadRow(f"{name} has the {key} {value!r}, and a turn is trained (1, true) or not (0, false)")
        if trained and turn["role"] != "assistant":
            raise BadRow(f"{name} has the {key} {value!r}, and only turns of the assistant can be trained")
    if len({truth(value) for value in said.values()}) > 1:
        raise BadRow(f"{name} has a weight and a train that contradict each other")
    return turn["role"] != "assistant" or all(truth(value) for value in said.values())


def _tool_calls(calls: Any, role: str, name: str) -> Message:
    if role != "assistant":
        raise BadRow(f"{name} has tool_calls, and only the assistant calls tools")
    if isinstance(calls, str):
        calls = _parsed(calls, f"{name} has tool_calls that are")
    if isinstance(calls, dict):
        calls = [calls]
    if not isinstance(calls, list):
        raise BadRow(f"{name} has tool_calls that are {kind(calls)}, not a list")
    made = [_tool_call(call, f"{name}, tool call {number},") for number, call in enumerate(calls, start=1)]
    return {"tool_calls": made}


def _tool_call(call: Any, name: str) -> Message:
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise BadRow(f"{name} has no name of a function")
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        arguments = _parsed(arguments, f"{name} has arguments that are") if arguments.strip() else {}
    if not isinstance(arguments, dict | None):
        raise BadRow(f"{name} has arguments that are {kind(arguments)}, not an object")
    check_numbers(arguments, name, "arguments")
    more = {key: value for key, value in call.items() if key not in ("type", "function", "name", "arguments")}
    return {**more, "type": "function", "function": {"name": function["name"], "arguments": arguments or {}}}


def _parsed(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRow(f"{name} broken JSON: {error}") from error
