"""Runs a recipe: every stage in turn, each stage's model feeding the next, in one folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlsys.config.checks import STAGE
from rlsys.config.load import load, load_as, save
from rlsys.config.models import Experiment
from rlsys.config.recipe import Recipe, Stage, load_recipe
from rlsys.errors import RunError
from rlsys.progress import print_table
from rlsys.run_dir import RunDir
from rlsys.spawning import Spawn
from rlsys.summary import summary_rows
from rlsys.train import resume, train

RECIPE = "recipe.yaml"
"""The recipe, saved in its folder beside one resolved config per stage."""


def run_recipe(path: Path, overrides: Sequence[str], spawn: Spawn) -> dict[str, Any]:
    """Run every stage in turn in a new folder; returns the last stage's summary. All are validated before the first one starts."""
    recipe, experiments = load_recipe(path, overrides)
    run_dir = RunDir.create(recipe.output, recipe.name)
    for experiment in experiments:
        save(placed(experiment, run_dir.path), run_dir.path / f"{experiment.name}.yaml")
    stages = tuple(Stage(name=experiment.name, config=Path(f"{experiment.name}.yaml")) for experiment in experiments)
    save(recipe.model_copy(update={"stages": stages}), run_dir.path / RECIPE)
    return resume_recipe(run_dir.path, spawn)


def resume_recipe(folder: Path, spawn: Spawn) -> dict[str, Any]:
    """Go on with a recipe: finished stages are kept, the one that was interrupted is resumed, later ones are started."""
    recipe = load_as(Recipe, folder / RECIPE)
    summaries = {stage.name: run_stage(stage, folder, spawn) for stage in recipe.stages}
    *_, last = summaries.values()
    summary = last | {
        "run": str(folder),
        "train_seconds": sum(stage["train_seconds"] for stage in summaries.values()),
        "wall_seconds": sum(stage["wall_seconds"] for stage in summaries.values()),
        "stages": summaries,
    }
    RunDir(folder).write_summary(summary)
    print_table(recipe.name, summary_rows(summary))
    return summary


def run_stage(stage: Stage, folder: Path, spawn: Spawn) -> dict[str, Any]:
    """The stage's summary, from wherever it stands."""
    run_dir = RunDir(folder / stage.name)
    if run_dir.summary.exists():
        return json.loads(run_dir.summary.read_text(encoding="utf-8"))
    if run_dir.config.exists():
        return resume(run_dir.path, spawn)
    if run_dir.path.exists():
        raise RunError(f"{run_dir.path}: no config.yaml, so this stage can't be resumed; delete the folder to start the stage anew")
    return train(load(folder / stage.config, this_machine=False), spawn)


def placed(experiment: Experiment, folder: Path) -> Experiment:
    """The experiment with its folder, and with the models of earlier stages where they will be."""

    def located(path: str) -> str:
        return str(RunDir(folder / path.removeprefix(STAGE)).final) if path.startswith(STAGE) else path

    model = experiment.model.model_copy(update={"path": located(experiment.model.path)})
    reference = experiment.reference
    if reference.path is not None:
        reference = reference.model_copy(update={"path": located(reference.path)})
    return experiment.model_copy(update={"output": folder, "model": model, "reference": reference})
