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
from typing import Any

from pydantic import Field

from rlsys.config.base import Model
from rlsys.config.load import load, load_as
from rlsys.config.models import Experiment
from rlsys.config.wiring import check_sources
from rlsys.config.yaml_file import read
from rlsys.errors import ConfigError
from rlsys.registry import did_you_mean


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


def load_recipe(path: Path, overrides: Sequence[str] = (), *, this_machine: bool = True) -> tuple[Recipe, list[Experiment]]:
    """Validate a recipe and all its stages; `this_machine` as in `load`. Raises ConfigError with one line."""
    names = {str(stage.get("name")) for stage in read(path)[0].get("stages") or [] if isinstance(stage, dict)}
    of_stages = [override for override in overrides if override.split(".")[0] in names]
    _check_heads(path, [override for override in overrides if override not in of_stages], names)
    recipe = load_as(Recipe, path, [override for override in overrides if override not in of_stages])
    experiments: list[Experiment] = []
    for stage in recipe.stages:
        own = [override.removeprefix(f"{stage.name}.") for override in of_stages if override.startswith(f"{stage.name}.")]
        given = [f"{key}={json.dumps(value)}" for key, value in {**stage.set, "name": stage.name, "seed": recipe.seed}.items()]
        try:
            experiment = load(path.parent / stage.config, [*given, *own], this_machine=this_machine)
            check_sources(experiment, experiments)
        except ConfigError as error:
            raise ConfigError(f"{path}: stage {stage.name}: {error}") from error
        experiments.append(experiment)
    return recipe, experiments


def _check_heads(path: Path, overrides: Sequence[str], stages: set[str]) -> None:
    """Raises ConfigError for an override that begins with neither a stage nor a key of the recipe."""
    for override in overrides:
        key = override.split("=")[0]
        head = key.split(".")[0]
        if head not in Recipe.model_fields:
            known = sorted(stages)
            near = did_you_mean(head, [*known, *Recipe.model_fields])
            hint = near or f"; a stage's settings begin with its name, as in {known[0]}.{key}=..."
            raise ConfigError(
                f"{path}: override {override!r}: {head} is neither a stage nor a key of the recipe (stages: {', '.join(known)}){hint}"
            )
