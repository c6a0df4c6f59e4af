"""The folder of a run or a recipe: where each thing lies, and the lock that lets only one driver write there."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlsys.config.document import load_as
from rlsys.config.recipe import Recipe
from rlsys.errors import RunError
from rlsys.files import to_json, write_whole

RECIPE = "recipe.yaml"
"""The recipe, saved in its folder beside one resolved config per stage."""

JUDGE_EVAL, JUDGE_EVAL_RESULT = "judge_eval.yaml", "judge_eval.json"
"""The config and the result of `rlsys judge-eval`, in its folder."""


@dataclass(frozen=True, slots=True)
class RunDir:
    """Paths of one run. Make it with `create` (new) or `open` (existing)."""

    path: Path

    @classmethod
    def create(cls, root: Path, name: str) -> RunDir:
        """Make the folder `root/name`, or `name-2`, `name-3`, ... when that name is taken: a new run never touches an
        old one's files.

        Raises RunError if the folder can't be made.
        """
        root = root.expanduser().absolute()
        try:
            root.mkdir(parents=True, exist_ok=True)
            for number in itertools.count(1):
                path = root / (name if number == 1 else f"{name}-{number}")
                try:
                    path.mkdir()
                except FileExistsError:
                    continue
                return cls(path)
        except OSError as error:
            raise RunError(
                f"can't make a run's folder in {root}: {error.strerror}; choose another with output=FOLDER"
            ) from error
        raise AssertionError("unreachable")

    @classmethod
    def open(cls, path: Path) -> RunDir:
        """An existing run. Raises RunError unless `path` holds one (a folder with a `config.yaml`)."""
        run = cls(path.expanduser().absolute())
        if not run.config.is_file():
            what = "has no config.yaml" if run.path.is_dir() else "is not a folder"
            raise RunError(
                f"{path}: not a run's folder ({what}); give the folder that `rlsys train` named, such as "
                "runs/quickstart"
            )
        return run

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def ledger(self) -> Path:
        """Every sample."""
        return self.path / "ledger.sqlite"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def final(self) -> Path:
        """The trained model, a plain Hugging Face folder."""
        return self.path / "final"

    @property
    def dataset(self) -> Path:
        """The rows that the run made, if it makes a data set."""
        return self.path / "dataset.jsonl"

    @property
    def summary(self) -> Path:
        return self.path / "summary.json"

    @property
    def error_log(self) -> Path:
        """The whole story of the error that stopped the run, remote tracebacks included."""
        return self.path / "error.log"

    @property
    def quarantine(self) -> Path:
        """Rows of the data set that could not be read, with line number and reason."""
        return self.path / "quarantine.jsonl"

    def write_summary(self, values: Mapping[str, Any]) -> None:
        """Write `summary.json` whole. Numbers that are not finite become null."""
        write_whole(self.summary, to_json(values, indent=2) + "\n")

    def read_summary(self) -> dict[str, Any]:
        """Raises RunError if it can't be read as JSON."""
        try:
            return json.loads(self.summary.read_text(encoding="utf-8"))
        except ValueError as error:
            raise RunError(f"{self.summary}: not JSON: {error}; put it aside to see the run without it") from error

    def is_locked(self) -> bool:
        """Whether a driver writes this run now, as far as this machine can tell. Of a lock file that names nobody
        nothing is asked, as asking holds the lock for an instant."""
        path = self.path / ".lock"
        if not path.exists() or not path.stat().st_size:
            return False
        with path.open(encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only driver that writes this run. The kernel releases the lock when the process dies, however it dies.

        Raises RunError, naming the holder, if another process has it.
        """
        with (self.path / ".lock").open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                holder = file.read().strip() or "another process"
                raise RunError(f"{self.path}: {holder} is writing this run; wait for it to end or stop it") from error
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
            try:
                yield
            finally:
                file.truncate(0)


def runs_in(folder: Path) -> list[RunDir]:
    """The run in `folder`, or those of a recipe's stages that have begun, in their order. Raises RunError if it holds
    neither a run nor a recipe."""
    path = folder.expanduser().absolute()
    if (path / JUDGE_EVAL).is_file():
        result = folder / JUDGE_EVAL_RESULT
        state = (
            f"its results are in {result}"
            if result.expanduser().is_file()
            else f"it has not finished: there is no {result} yet"
        )
        raise RunError(f"{folder}: of `rlsys judge-eval`, which has no samples; {state}")
    if not (path / RECIPE).is_file():
        return [RunDir.open(folder)]
    runs = [RunDir(path / stage.name) for stage in load_as(Recipe, path / RECIPE).steps]
    return [run for run in runs if run.config.is_file()]


def recipe_folder(run: RunDir) -> Path | None:
    """The folder of the recipe that the run is a stage of."""
    return run.path.parent if (run.path.parent / RECIPE).is_file() else None


def is_run_or_recipe(folder: Path) -> bool:
    return (folder / RECIPE).is_file() or (folder / "config.yaml").is_file()


def saved_method(config: Mapping[str, Any], path: Path) -> str:
    """Name of the method in a resolved config, read from `path`. Raises RunError if there is none."""
    method = config.get("method")
    if not isinstance(method, dict) or "name" not in method:
        raise RunError(f"{path}: names no method: an older rlsys made this run; read it with that version")
    return str(method["name"])
