"""Raw rows from wherever a data set lives: hub, files, folders, playground. No row is judged here but by its syntax."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rlsys.config.dataset import DatasetConfig
from rlsys.config.paths import STAGE
from rlsys.data.files import FILES, PACKED, read_file, read_text, suffix_of
from rlsys.data.nested import without_gaps
from rlsys.data.raw import RawRow
from rlsys.data.splits import Split, matching, side
from rlsys.errors import ConfigError, DataError
from rlsys.playground.tasks import read as read_playground

PLAYGROUND = "playground:"
UNREADABLE = (*PACKED[1:], ".xlsx", ".xml", ".pkl", ".zip")
"""What other data files are called."""


def read_rows(config: DatasetConfig) -> Iterator[RawRow]:
    """Rows in the order of the data set: of its split, or the slice, those that match, or the part of these. Raises
    DataError when the whole data set can't be read, ConfigError for settings that don't fit it."""
    rows = matching(_of_split(config), config.where) if config.where else _of_split(config)
    return iter(rows if config.part is None else side(rows, config))


def looks_local(path: str) -> bool:
    """Whether `path` can only mean a file or folder: hub ids are `name` or `owner/name`, without a data file's
    suffix."""
    return path.startswith((".", "/", "~")) or path.count("/") > 1 or path.lower().endswith((*FILES, *UNREADABLE))


def elsewhere(config: DatasetConfig) -> str | None:
    """Why the data set can't be read here; None: it can."""
    if config.path.startswith(STAGE):
        return "made by the recipe"
    here = config.path.startswith(PLAYGROUND) or Path(config.path).expanduser().exists()
    return None if here else "no such file, so a hub id"


def _of_split(config: DatasetConfig) -> Iterable[RawRow]:
    if config.path.startswith(PLAYGROUND):
        split = Split.parse(config.split)
        found = read_playground(config.path.removeprefix(PLAYGROUND), split.name, config.wrong_fraction)
        return split.of(_numbered(found))
    if config.wrong_fraction:
        raise ConfigError(f"wrong_fraction is for playground data sets only, not for {config.path}; leave it out")
    path = Path(config.path).expanduser()
    if path.is_file():
        return _read_one(path, config)
    if path.is_dir():
        return _read_folder(path / (config.folder or ""), config)
    if looks_local(config.path):
        raise DataError(f"{config.path}: no such file or folder")
    return _typed(_load_dataset(config.path, config.subset, config.split, data_dir=config.folder))


def _numbered(values: Iterable[Any]) -> Iterator[RawRow]:
    return (RawRow(number, value) for number, value in enumerate(values, start=1))


def _typed(values: Iterable[dict[str, Any]]) -> Iterator[RawRow]:
    return _numbered(map(without_gaps, values))


def _read_one(path: Path, config: DatasetConfig) -> Iterable[RawRow]:
    """A single file is one split, train, or of its own name: `test.jsonl` is split test as well."""
    split = Split.parse(config.split)
    if split.name not in ("train", path.name[: -len(suffix_of(path) or "")]):
        raise ConfigError(
            f"{path}: a single file has no split {split.name!r}; leave split out, give a slice of it, as in split: "
            "train[90%:], or hold rows out by "
            f"data.eval: {{share: 0.1}}"
        )
    return split.of(read_file(path))


def _read_folder(folder: Path, config: DatasetConfig) -> Iterable[RawRow]:
    """`<split>.jsonl` and the like in the folder; else its .txt files in the order of their names, one row each; else
    what `datasets` makes of it (its own saved format, or files it knows)."""
    names = sorted(folder.iterdir()) if folder.is_dir() else []
    saved = (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()
    documents = [path for path in names if path.name.lower().endswith(".txt")]
    bare = config.split.partition("[")[0]
    own = [
        path for path in names if path.is_file() and (suffix := suffix_of(path)) and path.name[: -len(suffix)] == bare
    ]
    if not (saved or documents or own):
        return _typed(_load_dataset(str(folder), config.subset, config.split))
    split = Split.parse(config.split)
    if len(own) > 1:
        raise DataError(
            f"{folder}: split {bare} is in {' and in '.join(path.name for path in own)}; give the path of the file "
            "that is meant"
        )
    if own:
        return split.of(read_file(own[0]))
    if saved and not documents:
        return split.of(_typed(_load_saved(folder, split.name)))
    if split.name != "train":
        raise DataError(f"{folder}: no split {split.name!r}: a folder of .txt files is one split, train")
    return split.of(read_text(number, path) for number, path in enumerate(documents, start=1))


def _load_dataset(path: str, subset: str | None, split: str, **more: Any) -> Iterable[Any]:
    """Rows of a hub data set or of a folder that `datasets` reads; it knows slices itself."""
    import datasets  # takes a second, and only these formats need it
    import pyarrow
    from datasets.exceptions import DatasetsError

    try:
        found = datasets.load_dataset(path, name=subset, split=split, **more)
    except (OSError, ValueError, RuntimeError, DatasetsError, pyarrow.ArrowException) as error:
        raise DataError(f"{path}: can't be loaded (subset {subset}, split {split}): {_first_line(error)}") from error
    return found


def _load_saved(folder: Path, split: str) -> Iterable[Any]:
    """Rows of a data set that was written by `save_to_disk`."""
    import datasets

    try:
        found = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{folder}: can't be loaded: {_first_line(error)}") from error
    if isinstance(found, datasets.Dataset):
        if split != "train":
            raise DataError(
                f"{folder}: no split {split!r}: the folder holds one data set without splits, which is called train"
            )
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
