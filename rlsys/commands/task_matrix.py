"""`rlsys matrix`: every model, and every adapter of one, measured on every task: a matrix of tasks x models."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlsys.check.load import checked
from rlsys.commands import evaluate
from rlsys.commands.evaluate import Measured
from rlsys.commands.merge import no_actors
from rlsys.config.document import Document, Override
from rlsys.config.experiment import Experiment
from rlsys.errors import ConfigError
from rlsys.files import to_json, write_whole
from rlsys.models.adapters.shared.files import adapter_folder
from rlsys.roles import Spawn
from rlsys.run.folder import RunDir
from rlsys.run.progress import print_line, print_table
from rlsys.run.summary import from_here
from rlsys.serving.adapters import Base, check_base, named

OF_THE_COMMAND = ("name", "output", "method", "model", "loop", "cluster")
"""Sections of an experiment that are not a task's to say."""
HEADLINES = ("accuracy_sampled", "accuracy_greedy", "reward_sampled", "reward_greedy")
"""A task's number is the first of these that it has."""
MERGED = "merged"
"""Folder of the merged models while they are measured."""


@dataclass(frozen=True)
class Cell:
    """One model, or one adapter of it, on one task."""

    task: str
    measured: Measured

    @property
    def measure(self) -> str | None:
        return next((name for name in HEADLINES if name in self.measured.measures), None)

    @property
    def value(self) -> float | None:
        return None if self.measure is None else self.measured.measures[self.measure]


@dataclass(frozen=True)
class Matrix:
    """What is to be measured; nothing has started."""

    experiments: Mapping[str, Mapping[str, Experiment]]
    """By model or adapter, then by task."""
    merges: Mapping[str, Experiment]
    """By adapter: the run that merges it into the model."""

    @classmethod
    def prepared(
        cls, models: Sequence[str], adapters: Sequence[str], tasks: Path, settings: Sequence[Override], output: Path
    ) -> Matrix:
        """`adapters`: name=PATH each, of the one model; `tasks`: file of the tasks; `settings` go over all. Raises
        ConfigError for whatever is wrong with any of them."""
        document = Document.read(tasks)
        problems = [_problem(name, section) for name, section in document.data.items()]
        if found := next((problem for problem in problems if problem), None):
            raise ConfigError(f"{tasks}: {found}")
        by_task = {name: evaluate.prepared(models, settings, output, document, name) for name in document.data}
        experiments = {model: {task: found[model] for task, found in by_task.items()} for model in models}
        merges = {}
        for name, path in named(adapters).items():
            base = experiments[_only(models, name, path)]
            merges[name] = _merge(name, Path(path).expanduser(), next(iter(base.values())))
            experiments[name] = {
                task: one.model_copy(update={"name": evaluate.folder_name(name)}) for task, one in base.items()
            }
        return cls(experiments, merges)

    def measure(self, output: Path, name: str, spawn: Spawn) -> tuple[Path, list[Cell]]:
        """Measure model by model, in a new folder `output/name` with a run's folder for each cell and all measures in
        `evaluation.json`; returns that file, and the cells. What the runs print goes to stderr."""
        from rlsys.run.train import train  # brings transformers

        folder, cells = RunDir.create(output, name).path, []
        with redirect_stdout(sys.stderr):
            for model, by_task in self.experiments.items():
                update: dict[str, Any] = {}
                if model in self.merges:
                    made = train(self.merges[model].model_copy(update={"output": folder / MERGED}), no_actors)
                    update["path"] = str(RunDir(Path(made["run"])).final)
                for task, experiment in by_task.items():
                    own = experiment.model.model_copy(update=update)
                    summary = train(experiment.model_copy(update={"model": own, "output": folder / task}), spawn)
                    cells.append(Cell(task, Measured(model, experiment, summary)))
                shutil.rmtree(folder / MERGED, ignore_errors=True)
        write_whole(folder / evaluate.RESULT, to_json(result(cells), indent=2) + "\n")
        return folder / evaluate.RESULT, cells


def result(cells: Sequence[Cell]) -> dict[str, Any]:
    """Plain data: the matrix, and all that was measured of each task."""
    tasks = {cell.task: [one for one in cells if one.task == cell.task] for cell in cells}
    return {
        "matrix": {task: {one.measured.model: one.value for one in row} for task, row in tasks.items()},
        "measures": {task: row[0].measure for task, row in tasks.items()},
        "tasks": {task: evaluate.result([one.measured for one in row]) for task, row in tasks.items()},
    }


def show(file: Path, cells: Sequence[Cell]) -> None:
    """The table on stdout, warnings on stderr."""
    for task in dict.fromkeys(cell.task for cell in cells):
        if warning := evaluate.different_prompts([cell.measured for cell in cells if cell.task == task]):
            print_line(f"{task}: {warning}")
    print_table(from_here(str(file)), table(cells))


def table(cells: Sequence[Cell]) -> list[tuple[str, ...]]:
    """A row for each task, a column for each model; the first row names the models."""
    rows = {cell.task: [one for one in cells if one.task == cell.task] for cell in cells}
    first = next(iter(rows.values()))
    return [
        ("", *(one.measured.model for one in first)),
        *((_label(task, row[0].measure), *(evaluate.number(one.value) for one in row)) for task, row in rows.items()),
    ]


def _label(task: str, measure: str | None) -> str:
    if measure is None:
        return task
    kind, _, mode = measure.partition("_")
    return f"{task}: {kind}, {mode}"


def _problem(name: str, section: Any) -> str | None:
    if evaluate.folder_name(name) != name or name == MERGED:
        return f"{name}: a task's name is a folder's; use letters, digits, '.', '_' and '-'"
    if not isinstance(section, dict):
        return f"{name}: wanted sections of an experiment (data, rewards, sampling, evaluation), got {section!r:.40}"
    wrong = next((key for key in section if key.partition(".")[0] in OF_THE_COMMAND), None)
    return f"{name}.{wrong}: is the command's to say, not a task's; leave it out" if wrong else None


def _only(models: Sequence[str], name: str, path: str) -> str:
    if len(models) != 1:
        raise ConfigError(f"--adapter {name}={path}: give one MODEL, its base; {len(models)} were given")
    if name in models:
        raise ConfigError(f"--adapter {name}={path}: the model is called so; choose another name")
    return models[0]


def _merge(name: str, path: Path, on: Experiment) -> Experiment:
    """The run that merges the adapter into the model that `on` measures. Raises ConfigError."""
    said = f"--adapter {name}={path}"
    folder = adapter_folder(said, path).resolve()
    if warning := check_base(said, folder, Base(Path(on.model.path))):
        print_line(f"warning: {warning}")
    document = Document.empty(said)
    document.data = {
        "name": evaluate.folder_name(name),
        "method": {"name": "merge", "models": [{"path": str(folder)}]},
        "model": {"path": on.model.path, "dtype": on.model.dtype},
    }
    return checked(document)
