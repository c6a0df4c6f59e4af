"""Rows of a table (CSV, TSV), whose cells are text."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from rlsys.data.raw import RawRow
from rlsys.errors import DataError

MISSING = ("", "nan", "NaN", "inf", "-inf", "Infinity", "-Infinity")
"""Cells that say nothing."""
WHOLE = re.compile(r"-?\d+\.0")


def read_table(opened: Callable[[], IO[str]], delimiter: str, path: Path) -> Iterator[RawRow]:
    """A header, then rows. A blank cell is missing (null), and one of NaN or infinity, too. A column of which every
    cell is missing or a whole number with `.0`, as pandas writes one with gaps, is read without the `.0`. Raises
    DataError."""
    csv.field_size_limit(2**31 - 1)  # the module's own limit is 128 KiB a cell
    with opened() as text:
        rows = _rows(text, delimiter)
        header = next(rows, [])
        if isinstance(header, str):
            raise DataError(f"{path}:1: {header}")
        if doubled := [name for name in header if header.count(name) > 1]:
            raise DataError(f"{path}:1: the header names the column {doubled[0]!r} twice")
        whole = _whole_columns(rows, len(header))
    with opened() as text:
        rows = _rows(text, delimiter)
        next(rows, None)
        for number, cells in enumerate(rows, start=1):
            if isinstance(cells, str):
                yield RawRow(number, "", cells)
            else:
                yield _row(number, header, cells, whole, delimiter)


def _rows(text: IO[str], delimiter: str) -> Iterator[list[str] | str]:
    """The cells of each, or what is broken. A blank line is no row."""
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield f"broken CSV: {error} (line {reader.line_num})"
            continue
        if cells is None:
            return
        if cells:
            yield cells


def _whole_columns(rows: Iterator[list[str] | str], count: int) -> set[int]:
    """Read no further than to the first row that leaves none."""
    found = set(range(count))
    for cells in rows:
        if not found:
            break
        if not isinstance(cells, str) and len(cells) == count:
            found = {place for place in found if _is_missing(cells[place]) or WHOLE.fullmatch(cells[place].strip())}
    return found


def _is_missing(cell: str) -> bool:
    return cell.strip() in MISSING


def _row(number: int, header: list[str], cells: list[str], whole: set[int], delimiter: str) -> RawRow:
    text = delimiter.join(cells)
    shown = text.encode("utf-8", "replace").decode()
    if len(cells) != len(header):
        return RawRow(number, shown, f"{len(cells)} cells, and the header has {len(header)}")
    if shown != text:  # what the encoding could not read is escaped
        return RawRow(number, shown, "bytes that the file's encoding does not have")
    values = [
        None if _is_missing(cell) else cell.strip().removesuffix(".0") if place in whole else cell
        for place, cell in enumerate(cells)
    ]
    return RawRow(number, dict(zip(header, values, strict=True)))
