"""One row as its data set has it, before anything is known of its columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class BadRow(Exception):
    """A row that can't be used, and why."""


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row before anything is known of its columns."""

    number: int
    """From 1: the line of a file of JSON lines, the row of anything else."""
    value: Any
    """Its text, where it can't be parsed."""
    problem: str | None = None
    """Why it can't be parsed."""
