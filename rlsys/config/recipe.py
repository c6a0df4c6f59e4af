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
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field

from rlsys.config.base import Model
from rlsys.config.load import Document, Override, load
from rlsys.config.models import Experiment
from rlsys.config.wiring import source_problems
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
    """Validate a recipe and all its stages; `this_machine` as in `load`. Raises ConfigError with one line for each problem."""
    names = {str(stage.get("name")) for stage in read(path)[0].get("stages") or [] if isinstance(stage, dict)}
    of_stages = [override for override in overrides if override.split(".")[0] in names]
    of_recipe = [override for override in overrides if override not in of_stages]
    _check_heads(path, of_recipe, names)
    document = Document.read(path, of_recipe)
    recipe = document.validated(Recipe)
    experiments: list[Experiment] = []
    for number, stage in enumerate(recipe.stages):
        set_here = [
            Override(f"{key}={json.dumps(value)}", f"{document.where(('stages', number, 'set', key))}: stage {stage.name}")
            for key, value in {**stage.set, "name": stage.name, "seed": recipe.seed}.items()
        ]
        typed = [Override.typed(text.removeprefix(f"{stage.name}."), text) for text in of_stages if text.startswith(f"{stage.name}.")]
        given = [*set_here, *typed]
        try:
            check = partial(source_problems, earlier=experiments)
            experiments.append(load(path.parent / stage.config, given, this_machine=this_machine, check=check))
        except ConfigError as error:
            own = tuple(override.where for override in given)  # and their lines say so
            told = [line if line.startswith(own) else f"{path}: stage {stage.name}: {line}" for line in str(error).splitlines()]
            raise ConfigError("\n".join(told)) from error
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
                f"{Override.typed(override).where}: {head} is neither a stage nor a key of the recipe {path} (stages: {', '.join(known)}){hint}"
            )
