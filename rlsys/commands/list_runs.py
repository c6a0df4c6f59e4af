"""`rlsys list`: the runs in a folder, and how each stands."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from datetime import datetime
from pathlib import Path

from rlsys.commands.standing import headline, progress
from rlsys.config.document import load_as
from rlsys.config.recipe import Recipe
from rlsys.errors import RlsysError, RunError
from rlsys.run.folder import RECIPE, RunDir, is_run_or_recipe, runs_in
from rlsys.run.record import Record

HEAD = ("run", "method", "state", "step", "headline", "last change")

WRITTEN = ("config.yaml", RECIPE, "metrics.jsonl", "summary.json", "*/metrics.jsonl")
"""What a driver writes into the folder of a run or recipe; a report may be written at any time."""


@dataclass(frozen=True, slots=True)
class Row:
    run: str
    method: str
    """Of a recipe, those of its stages that have begun."""
    state: str
    """A `Standing`, or `unreadable`, which the headline explains."""
    step: str
    headline: str
    changed: float
    """Seconds since 1970."""

    def cells(self) -> tuple[str, ...]:
        *told, changed = astuple(self)
        return (*told, datetime.fromtimestamp(changed).strftime("%Y-%m-%d %H:%M"))


def listed(folder: Path) -> list[Row]:
    """Of the runs and recipes in the folder, or of the stages of the recipe that it is, or of the run that it is; the
    one that was written last comes last. Raises RunError if it holds none."""
    path = folder.expanduser().absolute()
    if not path.is_dir():
        raise RunError(f"{folder}: no such folder; give the one that holds the runs, as in `rlsys list runs`")
    if is_run_or_recipe(path):
        found = [run.path for run in runs_in(path)]
    else:
        found = [one for one in path.iterdir() if one.is_dir() and is_run_or_recipe(one)]
    if not found:
        raise RunError(f"{folder}: no run has begun in it; `rlsys train` makes them in the folder that `output` names")
    return sorted(map(_row, found), key=lambda row: (row.changed, row.run))


def _row(path: Path) -> Row:
    changed = max(file.stat().st_mtime for pattern in WRITTEN for file in path.glob(pattern))
    try:
        told = _of_recipe(path) if (path / RECIPE).is_file() else _of_run(Record.read(RunDir(path)))
    except RlsysError as error:
        told = ("", "unreadable", "", str(error))
    return Row(path.name, *told, changed)


def _of_run(record: Record) -> tuple[str, str, str, str]:
    return record.method, record.standing, progress(record), headline(record)


def _of_recipe(path: Path) -> tuple[str, str, str, str]:
    """A recipe stands as the stage that it has come to."""
    stages, runs = load_as(Recipe, path / RECIPE).steps, runs_in(path)
    records = [Record.read(run) for run in runs]
    methods = " > ".join(dict.fromkeys(record.method for record in records))
    if not records:
        return methods, "stopped", f"0 of {len(stages)} stages", ""
    last, finished = records[-1], (path / "summary.json").is_file()
    state = "finished" if finished else "stopped" if last.standing == "finished" else last.standing
    return methods, state, f"{last.run.name} ({len(records)} of {len(stages)}): {progress(last)}", headline(last)
