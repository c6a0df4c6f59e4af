"""Runs a recipe: every stage in turn, each stage's model feeding the next, in one folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rlsys.check.continual import Sequel, tasks_of
from rlsys.check.load import load
from rlsys.check.recipe import load_recipe
from rlsys.config.document import load_as, save
from rlsys.config.experiment import Experiment
from rlsys.config.paths import STAGE, with_dataset_paths, with_model_paths
from rlsys.config.recipe import Recipe, Stage
from rlsys.continual.matrix import measures, rows
from rlsys.errors import RunError
from rlsys.files import to_json, write_whole
from rlsys.roles import Spawn
from rlsys.run.folder import RECIPE, RunDir
from rlsys.run.progress import print_table
from rlsys.run.summary import judge_rows, measured_rows, place_rows, work_rows
from rlsys.run.train import resume, train

CONTINUAL = "continual.json"
"""The scores of a sequence of tasks, in the recipe's folder."""


def run_recipe(path: Path, overrides: Sequence[str], spawn: Spawn) -> dict[str, Any]:
    """Run every stage in turn in a new folder; returns the last stage's summary. All are validated before the first one
    starts."""
    recipe, experiments = load_recipe(path, overrides)
    run_dir = RunDir.create(recipe.output, recipe.name)
    for experiment in experiments:
        save(placed(experiment, run_dir.path), run_dir.path / f"{experiment.name}.yaml")
    stages = tuple({"name": experiment.name, "config": f"{experiment.name}.yaml"} for experiment in experiments)
    if recipe.continual is not None:
        continual = recipe.continual.model_copy(update={"tasks": tasks_of(recipe)})
        recipe = recipe.model_copy(update={"continual": continual})
    save(recipe.model_copy(update={"common": {}, "stages": stages}), run_dir.path / RECIPE)
    return resume_recipe(run_dir.path, spawn)


def resume_recipe(folder: Path, spawn: Spawn) -> dict[str, Any]:
    """Go on with a recipe: finished stages are kept, the one that was interrupted is resumed, later ones are
    started."""
    recipe = load_as(Recipe, folder / RECIPE)
    summaries = {stage.name: run_stage(stage, folder, spawn) for stage in recipe.steps}
    *_, last = summaries.values()
    summary = last | {
        "run": str(folder),
        "train_seconds": sum(stage["train_seconds"] for stage in summaries.values()),
        "wall_seconds": sum(stage["wall_seconds"] for stage in summaries.values()),
        "stages": summaries,
    }
    told = table(summary)
    if recipe.continual is not None and recipe.continual.measure:
        summary["continual"], of_tasks = scores(recipe, summaries)
        write_whole(folder / CONTINUAL, to_json(summary["continual"], indent=1) + "\n")
        print_table(f"{recipe.name}: score on each task after each", of_tasks)
    RunDir(folder).write_summary(summary)
    print_table(recipe.name, told)
    return summary


def scores(recipe: Recipe, summaries: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[str, ...]]]:
    """The matrix of scores and what follows from it, as plain data and as a table. Raises RunError where a task could
    not be scored."""
    sequel = Sequel(recipe)
    for name in sequel.cells().values():
        if summaries[name]["score"] is None:
            raise RunError(f"{summaries[name]['run']}: no answer could be scored, so forgetting can't be measured")
    size = range(len(sequel.tasks))
    matrix = [[float(summaries[sequel.cells()[i, j]]["score"]) for j in size] for i in size]
    plain = {"against": sequel.against.model_dump(mode="json"), "tasks": [*sequel.tasks], "matrix": matrix}
    return plain | asdict(measures(matrix)), rows(sequel.tasks, matrix)


def table(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """What each stage measured, made and left out, and then where everything is."""
    rows: list[tuple[str, str]] = []
    for name, own in summary["stages"].items():
        rows += [(f"{name}: {what}", value) for what, value in [*measured_rows(own), *judge_rows(own), *work_rows(own)]]
    return [*rows, *place_rows(summary)]


def run_stage(stage: Stage, folder: Path, spawn: Spawn) -> dict[str, Any]:
    """The stage's summary, from wherever it stands."""
    run_dir = RunDir(folder / stage.name)
    if run_dir.summary.exists():
        return json.loads(run_dir.summary.read_text(encoding="utf-8"))
    if run_dir.config.exists():
        return resume(run_dir.path, spawn)
    if run_dir.path.exists():
        raise RunError(
            f"{run_dir.path}: no config.yaml, so this stage can't be resumed; delete the folder to start the stage anew"
        )
    return train(load(folder / f"{stage.name}.yaml", this_machine=False), spawn)


def placed(experiment: Experiment, folder: Path) -> Experiment:
    """The experiment with its folder, and with the models and data sets of earlier stages where they will be."""

    def model(path: str) -> str:
        return str(RunDir(folder / path.removeprefix(STAGE)).final) if path.startswith(STAGE) else path

    def dataset(path: str) -> str:
        return str(RunDir(folder / path.removeprefix(STAGE)).dataset) if path.startswith(STAGE) else path

    return with_dataset_paths(with_model_paths(experiment, model), dataset).model_copy(update={"output": folder})
