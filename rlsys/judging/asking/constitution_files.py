"""Where a constitution is read from: our own files, a YAML file, or the JSON files of the paper's authors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rlsys.config.document import load_as
from rlsys.errors import ConfigError, did_you_mean
from rlsys.judging.asking.authors_json import read_folder
from rlsys.judging.asking.constitution import Constitution

FOLDER = Path(__file__).parents[1] / "constitutions"


def load_constitution(name: str, only: Sequence[str] = (), leave_out: Sequence[str] = ()) -> Constitution:
    """`name`: a file in rlsys/judging/constitutions, the path of a YAML file, or of a folder that holds the JSON files
    of the paper's authors.

    `only` and `leave_out` choose principles by id or tag. Raises ConfigError.
    """
    path = named_path(FOLDER, name, "constitution", "a YAML file or a folder of JSON files")
    if path.is_dir():
        return read_folder(path).chosen(only, leave_out)
    return load_as(Constitution, path).chosen(only, leave_out)


def named_path(folder: Path, name: str, what: str, wanted: str = "a YAML file") -> Path:
    """The file of that name in our own `folder`, else the path `name`. Raises ConfigError for a name that is
    neither."""
    names = own_names(folder)
    if name in names:
        return folder / f"{name}.yaml"
    path = Path(name).expanduser()
    if path.suffix in (".yaml", ".yml") or path.exists():
        return path
    raise ConfigError(
        f"{what} {name!r}: no such name{did_you_mean(name, names)} (known: {', '.join(names)}), and not the path of "
        f"{wanted}"
    )


def own_names(folder: Path) -> list[str]:
    """Names of the files in our own `folder`. They come before the paths of the same name."""
    return sorted(file.stem for file in folder.glob("*.yaml"))
