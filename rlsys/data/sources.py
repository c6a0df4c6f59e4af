"""Raw rows from wherever a data set lives: hub, JSONL, JSON, Parquet, text, folders, playground. No row is judged here
but by its syntax."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlsys.config.dataset import DatasetConfig
from rlsys.config.paths import STAGE
from rlsys.errors import ConfigError, DataError
from rlsys.playground.tasks import rows as playground_rows

PLAYGROUND = "playground:"
LINES = (".jsonl", ".jsonl.gz", ".ndjson")
FILES = (*LINES, ".json", ".parquet", ".txt")
UNREADABLE = (".csv", ".tsv", ".gz", ".arrow")
"""What other data files are called."""


class BadRow(Exception):
    """A row that can't be used, and why."""


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row before anything is known of its columns."""

    number: int
    """From 1: the line of a JSONL file, the row of anything else."""
    value: Any
    """Its text, where it can't be parsed."""
    problem: str | None = None
    """Why it can't be parsed."""


def read_rows(config: DatasetConfig) -> Iterator[RawRow]:
    """Rows in the order of the data set. Raises DataError when the whole data set can't be read, ConfigError for
    settings that don't fit it."""
    if config.path.startswith(PLAYGROUND):
        found = playground_rows(config.path.removeprefix(PLAYGROUND), config.split, config.wrong_fraction)
        return _numbered(found)
    if config.wrong_fraction:
        raise ConfigError(f"wrong_fraction is for playground data sets only, not for {config.path}; leave it out")
    path = Path(config.path).expanduser()
    if path.is_file():
        return _read_file(path)
    if path.is_dir():
        return _read_folder(path / (config.folder or ""), config)
    if looks_local(config.path):
        raise DataError(f"{config.path}: no such file or folder")
    return _numbered(_load_dataset(config.path, config.subset, config.split, data_dir=config.folder))


def looks_local(path: str) -> bool:
    """Whether `path` can only mean a file or folder: hub ids are `name` or `owner/name`, without a data file's
    suffix."""
    return path.startswith((".", "/", "~")) or path.count("/") > 1 or path.endswith((*FILES, *UNREADABLE))


def elsewhere(config: DatasetConfig) -> str | None:
    """Why the data set can't be read here; None: it can."""
    if config.path.startswith(STAGE):
        return "made by the recipe"
    here = config.path.startswith(PLAYGROUND) or Path(config.path).expanduser().exists()
    return None if here else "no such file, so a hub id"


def _numbered(values: Iterable[Any]) -> Iterator[RawRow]:
    return (RawRow(number, value) for number, value in enumerate(values, start=1))


def _read_file(path: Path) -> Iterator[RawRow]:
    if path.name.endswith(LINES):
        return _read_lines(path)
    if path.suffix == ".json":
        return _numbered(_read_json(path))
    if path.suffix == ".parquet":
        return _numbered(_load_dataset("parquet", None, "train", data_files=str(path)))
    if path.suffix == ".txt":
        return iter([_read_text(1, path)])
    raise DataError(f"{path}: unknown kind of file; there are {', '.join(FILES)}")


def _read_folder(folder: Path, config: DatasetConfig) -> Iterator[RawRow]:
    """`<split>.jsonl` and the like in the folder; else its .txt files in the order of their names, one row each; else
    what `datasets` makes of it (its own saved format, or files it knows)."""
    for suffix in FILES:
        if (folder / f"{config.split}{suffix}").is_file():
            return _read_file(folder / f"{config.split}{suffix}")
    if documents := sorted(folder.glob("*.txt")):
        if config.split != "train":
            raise DataError(f"{folder}: no split {config.split!r}: a folder of .txt files is one split, train")
        return (_read_text(number, path) for number, path in enumerate(documents, start=1))
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        return _numbered(_load_saved(folder, config.split))
    return _numbered(_load_dataset(str(folder), config.subset, config.split))


def _read_lines(path: Path) -> Iterator[RawRow]:
    """JSONL, plain or gzipped, line by line, so that one bad line costs one row and has a number. Blank lines are no
    rows."""
    opener = gzip.open if path.suffix == ".gz" else open
    number = 0
    try:
        with opener(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield _parse_line(number, line)
    except (OSError, EOFError) as error:
        raise DataError(f"{path}:{number + 1}: can't be read: {error}") from error


def _parse_line(number: int, line: bytes) -> RawRow:
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        return RawRow(
            number, line.decode("utf-8", "replace").rstrip("\r\n"), f"not UTF-8: {error.reason} at byte {error.start}"
        )
    try:
        return RawRow(number, json.loads(text))
    except json.JSONDecodeError as error:
        return RawRow(number, text, f"broken JSON: {error.msg} (column {error.colno})")
    except (ValueError, RecursionError) as error:  # an integer of thousands of digits, nesting thousands deep
        return RawRow(number, text, f"broken JSON: {error}")


def _read_text(number: int, path: Path) -> RawRow:
    """The whole file is one document, in the column `text`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error}") from error
    try:
        return RawRow(number, {"text": content.decode("utf-8-sig")})
    except UnicodeDecodeError as error:
        return RawRow(number, content.decode("utf-8", "replace"), f"not UTF-8: {error.reason} at byte {error.start}")


def _read_json(path: Path) -> list[Any]:
    try:
        found = json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: broken JSON: {error.msg} (column {error.colno})") from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: can't be read: {error}") from error
    if not isinstance(found, list):
        raise DataError(f"{path}: a JSON data file holds a list of objects, this one a {type(found).__name__}")
    return found


def _load_dataset(path: str, subset: str | None, split: str, **more: Any) -> Iterable[Any]:
    """Rows of a hub data set or of files that `datasets` reads."""
    import datasets  # takes a second, and only these formats need it
    import pyarrow
    from datasets.exceptions import DatasetsError

    try:
        found = datasets.load_dataset(path, name=subset, split=split, **more)
    except (OSError, ValueError, RuntimeError, DatasetsError, pyarrow.ArrowException) as error:
        name = more.get("data_files", path)
        raise DataError(f"{name}: can't be loaded (subset {subset}, split {split}): {_first_line(error)}") from error
    return found


def _load_saved(folder: Path, split: str) -> Iterable[Any]:
    """Rows of a data set that was written by `save_to_disk`."""
    import datasets

    try:
        found = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{folder}: can't be loaded: {_first_line(error)}") from error
    if isinstance(found, datasets.Dataset):
        return found
    if split not in found:
        raise DataError(f"{folder}: no split {split!r}; there are {', '.join(map(str, found))}")
    return found[split]


def _first_line(error: BaseException) -> str:
    """The root cause's first line: `datasets` wraps what went wrong in 'an error occurred'."""
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return next((line.strip() for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
