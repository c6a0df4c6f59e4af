"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines; the first column is left-aligned, the others right. Nothing where there are no rows."""
    if not rows:
        return []
    marks = ["---", *["---:"] * (len(head) - 1)]
    return [_line(head), _line(marks), *map(_line, rows), ""]


def number(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(' '.join(cell.replace('|', chr(92) + '|').split()) for cell in cells)} |"
