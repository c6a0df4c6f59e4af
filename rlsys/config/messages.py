"""Turns pydantic's findings into sentences about keys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic_core import ErrorDetails

from rlsys.config.base import Model
from rlsys.config.schema import Key, choices, field, fields, section, wanted
from rlsys.errors import nearest


@dataclass(frozen=True)
class Problem:
    """Something wrong at a key, and what to do about it."""

    key: Key
    message: str
    unknown_key: bool = False


def explain_error(model: type[Model], detail: ErrorDetails, data: Any, prefix: Key) -> Problem:
    """`detail` was found in `data`, which stands at `prefix` and must be a `model`."""
    loc = tuple(detail["loc"])
    if detail["type"] == "extra_forbidden":
        return Problem(prefix + loc, "unknown key" + _suggestion(model, loc), unknown_key=True)
    if detail["type"] == "missing":
        info = field(model, loc)
        return Problem(
            prefix + loc,
            f"required key is missing: {info.description or wanted(info)}" if info else "required key is missing",
        )
    loc = tuple(_present(data, loc))
    if detail["type"] in ("value_error", "assertion_error"):
        return Problem(prefix + loc, str(detail["ctx"]["error"]) if "ctx" in detail else detail["msg"])
    if detail["type"] == "url":  # which may hold a password
        return Problem(prefix + loc, detail["msg"])
    if detail["type"] == "too_short" and "ctx" in detail:
        least, there = detail["ctx"]["min_length"], detail["ctx"]["actual_length"]
        return Problem(prefix + loc, f"wanted at least {least} {'item' if least == 1 else 'items'}, got {there}")
    info = field(model, loc)
    if info is None:
        message = detail["msg"].replace("Input should be", "wanted", 1).replace("a valid ", "a ")
        message = message.replace("a string", "text").replace("an object", "a section")
        return Problem(prefix + loc, f"{message}, got {detail['input']!r:.80}")
    got = detail["input"]
    close = nearest(str(got), choices(info.annotation)) if isinstance(got, str) else None
    hint = f"; did you mean {close}?" if close else ""
    return Problem(prefix + loc, f"wanted {wanted(info)}, got {_show(got)}{hint}")


def _present(data: Any, loc: Key) -> Iterator[str | int]:
    """`loc` as far as it exists in the data: pydantic appends names of types where a field allows several."""
    here = data
    for part in loc:
        items: Any = dict(enumerate(here)) if isinstance(here, list) else here
        if not isinstance(items, dict) or part not in items:
            return
        here = items[part]
        yield part


def _suggestion(model: type[Model], loc: Key) -> str:
    """The nearest key of the same section, else the same key in another section, else the keys of the section."""
    word = str(loc[-1])
    here = section(model, loc[:-1])
    close = nearest(word, here.model_fields) if here else None
    elsewhere = [name for name, _ in fields(model) if name.rpartition(".")[2] == word != name]
    if close is None and elsewhere:
        return f"; did you mean {' or '.join(elsewhere)}?"
    return f"; did you mean {close}?" if close else f" (known: {', '.join(here.model_fields)})" if here else ""


def _show(value: Any) -> str:
    match value:
        case None | True | False:
            return str(value).lower().replace("none", "null")
        case str():
            return f"the text {value!r:.80}"
        case dict():
            return "a section"
        case list():
            return "a list"
    return str(value)
