"""Columns within columns, by dotted names: `reward_model.ground_truth`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rlsys.data.raw import BadRow

ABSENT = object()


def look(value: dict[str, Any], name: str) -> Any:
    """What is in the column of this very name, or else in the column within a column; `ABSENT` if there is neither."""
    if name in value:
        return value[name]
    here: Any = value
    for part in name.split("."):
        if not isinstance(here, dict) or part not in here:
            return ABSENT
        here = here[part]
    return here


def find(value: dict[str, Any], name: str, asked_by: str = "by") -> Any:
    """As `look`. Raises BadRow that says what asks for it if it is not there."""
    found = look(value, name)
    if found is ABSENT:
        raise BadRow(f"no column {name!r} (there are: {listed(value)}), and data.*.{asked_by} asks for it")
    return found


def without(value: dict[str, Any], name: str) -> dict[str, Any]:
    """All but the column of this very name, or else but the column within a column."""
    if name in value:
        return {column: item for column, item in value.items() if column != name}
    head, _, below = name.partition(".")
    inner = value.get(head)
    return {**value, head: without(inner, below)} if below and isinstance(inner, dict) else value


def without_gaps(item: Any, listed: bool = False) -> Any:
    """What a typed file (Parquet, Arrow) holds as it was before it was written: objects in a list all have the same
    keys there, null where only another one has something. `listed`: the item is in a list."""
    if isinstance(item, list):
        return [without_gaps(inner, listed=True) for inner in item]
    if isinstance(item, dict):
        return {key: without_gaps(inner, listed) for key, inner in item.items() if not listed or inner is not None}
    return item


def listed(value: dict[str, Any]) -> str:
    """All columns, for people; of objects, those within."""
    return ", ".join(map(repr, _names(value)))


def _names(value: dict[str, Any]) -> Iterator[str]:
    for name, inner in value.items():
        if isinstance(inner, dict) and inner:
            yield from (f"{name}.{below}" for below in inner)
        else:
            yield name
