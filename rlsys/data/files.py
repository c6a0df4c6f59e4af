"""Rows of one file: JSON lines, JSON, CSV, TSV, text, Parquet and Arrow. Those of text may be compressed, and in UTF-16
with a byte order mark."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

from rlsys.data.nested import without_gaps
from rlsys.data.raw import RawRow
from rlsys.data.tables import read_table
from rlsys.errors import DataError

PACKED = ("", ".gz", ".zst")
LINES, TABLES = (".jsonl", ".ndjson"), {".csv": ",", ".tsv": "\t"}
TEXTS = (*LINES, ".json", *TABLES, ".txt")
BINARY = (".parquet", ".arrow")
FILES = (*(text + packed for text in TEXTS for packed in PACKED), *BINARY)
"""Suffixes of the files that can be read, in upper case, too."""
KINDS = f"{', '.join(TEXTS)} (also with {' or '.join(PACKED[1:])}), {', '.join(BINARY)}"
"""The same, for people."""
MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
BROKEN = {"utf-8": "surrogateescape", "utf-8-sig": "surrogateescape", "utf-16": "surrogatepass"}
"""How characters that are none are read in each encoding."""
START = 64
"""Bytes that tell the encoding, and a list from rows."""
BATCH = 1000
"""Rows of a Parquet or Arrow file that are in memory at once."""


def suffix_of(path: Path | str) -> str | None:
    """That of `FILES` which the name ends in."""
    name = str(path).lower()
    return next((suffix for suffix in FILES if name.endswith(suffix)), None)


def read_file(path: Path) -> Iterator[RawRow]:
    """Its rows, in order. A line that is broken is a row with a problem. Raises DataError for a file that can't be
    read."""
    suffix = suffix_of(path)
    if suffix is None:
        raise DataError(f"{path}: unknown kind of file; there are {KINDS}")
    if suffix in BINARY:
        return _numbered(_parquet(path) if suffix == ".parquet" else _arrow(path))
    kind = next(text for text in TEXTS if suffix.startswith(text) and suffix.removeprefix(text) in PACKED)
    if kind == ".txt":
        return iter([read_text(1, path)])
    return _guarded(_rows(path, kind), path, (OSError, EOFError, UnicodeError, zlib.error))


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of a file of JSON lines, to be parsed by whoever iterates over them: in another process, say."""

    first: int
    """Number of the first line."""
    lines: list[bytes]

    def __iter__(self) -> Iterator[RawRow]:
        return (_line(number, line) for number, line in enumerate(self.lines, start=self.first) if line.strip())


def read_lines_of(path: Path, size: int) -> Iterator[Lines]:
    """All lines of a file of JSON lines, `size` at once, none of them parsed. Raises DataError for a file that can't be
    read. Only for `is_plain` files."""

    def batches() -> Iterator[Lines]:
        with path.open("rb") as file:
            number = 1
            while lines := list(islice(file, size)):
                yield Lines(number, lines)
                number += len(lines)

    return _guarded(batches(), path, (OSError,))


def is_plain(path: Path) -> bool:
    """Whether it is a file of JSON lines in UTF-8, and not compressed."""
    if not path.is_file() or suffix_of(path) not in LINES:
        return False
    with path.open("rb") as file:
        return not _encoding(file.read(4)).startswith("utf-16")


def read_text(number: int, path: Path) -> RawRow:
    """The whole file is one document, in the column `text`."""
    try:
        with _opened(path) as file:
            content = file.read()
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: can't be read: {error}") from error
    try:
        return RawRow(number, {"text": content.decode(_encoding(content))})
    except UnicodeDecodeError as error:
        return RawRow(number, content.decode("utf-8", "replace"), _undecodable(error))


def _opened(path: Path) -> Any:
    """A buffered binary file of what is in it, unpacked."""
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rb")
    if path.suffix.lower() == ".zst":
        import pyarrow  # here, because only some files need it

        return io.BufferedReader(pyarrow.input_stream(str(path), compression="zstd"))
    return path.open("rb")


def _encoding(start: bytes) -> str:
    return next((encoding for mark, encoding in MARKS if start.startswith(mark)), "utf-8")


def _undecodable(error: UnicodeDecodeError) -> str:
    return (
        f"not {'UTF-8' if error.encoding == 'utf-8' else error.encoding.upper()}: {error.reason} at byte {error.start}"
    )


def _rows(path: Path, kind: str) -> Iterator[RawRow]:
    if kind in TABLES:
        yield from read_table(lambda: _text(_opened(path), newline=""), TABLES[kind], path)
        return
    with _opened(path) as file:
        start = file.peek(START)[:START]
        encoding = _encoding(start)
        listed = start.decode(encoding, "ignore").lstrip().startswith("[")
        yield from _json(file.read(), path, kind) if listed or kind not in LINES else _lines(file, encoding)


def _text(file: Any, newline: str) -> IO[str]:
    """What is no character stays in it as a lone surrogate, for its row to be put aside."""
    encoding = _encoding(file.peek(START)[:START])
    return io.TextIOWrapper(file, encoding, BROKEN[encoding], newline=newline)


def _lines(file: Iterable[bytes], encoding: str) -> Iterator[RawRow]:
    """JSON lines one by one, so that one bad line costs one row and has a number. Blank lines are no rows."""
    if encoding == "utf-16":
        file = (line.encode("utf-8", "surrogatepass") for line in _text(file, newline="\n"))
    for number, line in enumerate(file, start=1):
        if line.strip():
            yield _line(number, line)


def _line(number: int, line: bytes) -> RawRow:
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8", "surrogatepass").rstrip("\r\n")
    except UnicodeDecodeError as error:
        return RawRow(number, line.decode("utf-8", "replace").rstrip("\r\n"), _undecodable(error))
    try:
        return RawRow(number, json.loads(text))
    except json.JSONDecodeError as error:
        return RawRow(number, text, f"broken JSON: {error.msg} (column {error.colno})")
    except (ValueError, RecursionError) as error:  # an integer of thousands of digits, nesting thousands deep
        return RawRow(number, text, f"broken JSON: {error}")


def _json(content: bytes, path: Path, kind: str) -> Iterator[RawRow]:
    """A list of rows, which may be called .jsonl, or JSON lines, which many data sets call .json; or objects one after
    the other."""
    lines = _lines(io.BufferedReader(io.BytesIO(content)), _encoding(content))
    try:
        text = content.decode(_encoding(content), "surrogatepass")
    except UnicodeDecodeError as error:
        if kind not in LINES:
            raise DataError(f"{path}: {_undecodable(error)}") from error
        yield from lines
        return
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        more, first = error.msg == "Extra data", text[: error.pos].strip()
        if "\n" not in first and (kind in LINES or (more and first.startswith("{"))):
            yield from lines
        elif more and first.startswith("{"):
            yield from _numbered(_objects(text, path))
        else:
            raise _broken(path, error) from error
        return
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: can't be read: {error}") from error
    if not isinstance(found, list):
        raise DataError(f"{path}: a JSON data file holds a list of objects, this one a {type(found).__name__}")
    yield from _numbered(found)


def _objects(text: str, path: Path) -> Iterator[Any]:
    """One after the other, each over as many lines as it takes."""
    decoder, place, end = json.JSONDecoder(), 0, len(text.rstrip())
    while place < end:
        if text[place].isspace():
            place += 1
            continue
        try:
            found, place = decoder.raw_decode(text, place)
        except json.JSONDecodeError as error:
            raise _broken(path, error) from error
        yield found


def _broken(path: Path, error: json.JSONDecodeError) -> DataError:
    return DataError(f"{path}:{error.lineno}: broken JSON: {error.msg} (column {error.colno})")


def _parquet(path: Path) -> Iterator[Any]:
    import pyarrow.parquet  # here, because only these files need it

    def rows() -> Iterator[Any]:
        with pyarrow.parquet.ParquetFile(str(path)) as file:
            for batch in file.iter_batches(BATCH):
                yield from map(without_gaps, batch.to_pylist())

    return _guarded(rows(), path, (OSError, pyarrow.ArrowException))


def _arrow(path: Path) -> Iterator[Any]:
    """Arrow's file format, or its stream format, as `datasets` writes it."""
    import pyarrow

    def rows() -> Iterator[Any]:
        with pyarrow.memory_map(str(path)) as source:
            try:
                file = pyarrow.ipc.open_file(source)
            except pyarrow.ArrowInvalid:
                source.seek(0)
                batches: Iterable[Any] = pyarrow.ipc.open_stream(source)
            else:
                batches = (file.get_batch(index) for index in range(file.num_record_batches))
            for batch in batches:
                for start in range(0, batch.num_rows, BATCH):
                    yield from map(without_gaps, batch.slice(start, BATCH).to_pylist())

    return _guarded(rows(), path, (OSError, pyarrow.ArrowException))


def _numbered(values: Iterable[Any]) -> Iterator[RawRow]:
    return (RawRow(number, value) for number, value in enumerate(values, start=1))


def _guarded(values: Iterator[Any], path: Path, errors: tuple[type[Exception], ...]) -> Iterator[Any]:
    """Whatever breaks on the way is a DataError that names the last good row."""
    count = 0
    try:
        for value in values:
            count += 1
            yield value
    except errors as error:
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(f"{path}: can't be read{f' after row {count}' * bool(count)}: {why}") from error
