"""A report as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rlsys.commands.report.blocks import Block, Heading, Table, Text


def lines_of(blocks: Iterable[Block]) -> Iterator[str]:
    """An empty line follows each block. The first column of a table is left-aligned, the others right."""
    for block in blocks:
        match block:
            case Heading(text, level):
                yield from (f"{'#' * level} {text}", "")
            case Text(text):
                yield from (text, "")
            case Table(_, ()):
                pass
            case Table(head, rows):
                marks = ["---", *["---:"] * (len(head) - 1)]
                yield from (_line(head), _line(marks), *map(_line, rows), "")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(' '.join(cell.replace('|', chr(92) + '|').split()) for cell in cells)} |"
