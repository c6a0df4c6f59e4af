"""A recipe: training runs chained in one YAML, each stage's model feeding the next, in one folder.

    name: quickstart
    stages:
      - {name: warmup, config: quickstart_sft.yaml}
      - {name: grpo, config: quickstart_grpo.yaml, set: {model.path: "stage:warmup"}}

Overrides: `seed=1` and `output=...` go to every stage, `grpo.loop.steps=5` to one. The recipe is saved in its folder, so that `rlsys resume`
skips the stages that are done and goes on inside the one that is not.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from rlsys.config.base import Model
from rlsys.config.checks import STAGE
from rlsys.config.load import load, load_as, save
from rlsys.config.models import Experiment
from rlsys.config.yaml_file import read
from rlsys.errors import ConfigError, RunError
from rlsys.progress import print_table
from rlsys.run_dir import RunDir

if TYPE_CHECKING:  # it imports transformers, which takes seconds; a recipe can be checked without
    from rlsys.train import Spawn

RECIPE = "recipe.yaml"
"""The recipe, saved in its folder beside one resolved config per stage."""


class Stage(Model):
    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    """Name of the stage and of its folder."""
    config: Path
    """Experiment file, relative to the recipe's."""
    set: dict[str, Any] = {}
    """Overrides of that file: keys with dots, YAML values."""


class Recipe(Model):
    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    """Name of the recipe and of its folder."""
    output: Path = Path("runs")
    """Folder in which the recipe's folder is made."""
    seed: int = 0
    """Seed of every stage."""
    stages: tuple[Stage, ...] = Field(min_length=1)
    """In the order in which they run."""


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


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> tuple[Recipe, list[Experiment]]:
    """Validate a recipe and all its stages. Raises ConfigError with one line."""
    names = {str(stage.get("name")) for stage in read(path)[0].get("stages") or [] if isinstance(stage, dict)}
    of_stages = [override for override in overrides if override.split(".")[0] in names]
    recipe = load_as(Recipe, path, [override for override in overrides if override not in of_stages])
    experiments: list[Experiment] = []
    for stage in recipe.stages:
        own = [override.removeprefix(f"{stage.name}.") for override in of_stages if override.startswith(f"{stage.name}.")]
        given = [f"{key}={json.dumps(value)}" for key, value in {**stage.set, "name": stage.name, "seed": recipe.seed}.items()]
        experiment = load(path.parent / stage.config, [*given, *own])
        earlier = [done.name for done in experiments]
        for source in (experiment.model.path, experiment.reference.path or ""):
            if source.startswith(STAGE) and source.removeprefix(STAGE) not in earlier:
                raise ConfigError(
                    f"{path}: stage {stage.name}: {source!r} names no earlier stage (earlier: {', '.join(earlier) or 'none'})"
                )
        experiments.append(experiment)
    return recipe, experiments


def placed(experiment: Experiment, folder: Path) -> Experiment:
    """The experiment with its folder, and with the models of earlier stages where they will be."""

    def located(path: str) -> str:
        return str(RunDir(folder / path.removeprefix(STAGE)).final) if path.startswith(STAGE) else path

    model = experiment.model.model_copy(update={"path": located(experiment.model.path)})
    reference = experiment.reference
    if reference.path is not None:
        reference = reference.model_copy(update={"path": located(reference.path)})
    return experiment.model_copy(update={"output": folder, "model": model, "reference": reference})
