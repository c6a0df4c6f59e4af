"""What a report is made of, whatever it is written as."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Heading:
    text: str
    level: int = 3


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph; `backticks` mark code, as in Markdown."""

    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """One without rows is not shown."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


Block = Heading | Text | Table


def number(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}f}"
