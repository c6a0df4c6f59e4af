"""A sample of rows and what must come of them, and short ways to write messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Sample:
    """Rows of one kind, and what must come of them."""

    name: str
    """Of the data set, or what is special about the row."""
    kind: str
    """What they are read as: prompts, demonstrations, comparisons, labelled, texts."""
    format: str
    """What is found."""
    rows: tuple[dict[str, Any], ...]
    trained: tuple[str, ...]
    """Of demonstrations and texts, what is trained; of comparisons, the better and the worse answer; of labelled
    answers, each, with its label; of prompts, the ground truth."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Of the data set's config, beside `path`."""


def turn(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def said(speaker: str, value: str, **more: Any) -> dict[str, Any]:
    return {"from": speaker, "value": value, **more}


WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
ASK, ANSWER, AGAIN, WRONG = (
    turn("user", "2+2?"),
    turn("assistant", "4"),
    turn("user", "And 3+3?"),
    turn("assistant", "5"),
)
SIX, HH = turn("assistant", "6"), "\n\nHuman: 2+2?\n\nAssistant: "
