"""A recipe from its YAML file: every stage put together, wired to the earlier ones and checked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rlsys.check.continual import Sequel, continual_problems
from rlsys.check.load import checked
from rlsys.check.wiring import source_problems
from rlsys.config.document import Document, Override
from rlsys.config.experiment import Experiment
from rlsys.config.messages import Problem
from rlsys.config.recipe import NAME, Recipe, Stage
from rlsys.config.yaml_file import read
from rlsys.errors import ConfigError, did_you_mean


def load_recipe(
    path: Path, overrides: Sequence[str] = (), *, this_machine: bool = True
) -> tuple[Recipe, list[Experiment]]:
    """Validate a recipe and all its stages; `this_machine` as in `checked`. Raises ConfigError with one line for each
    problem."""
    stages = read(path)[0].get("stages")
    names = {
        str(stage.get("name")) for stage in (stages if isinstance(stages, list) else []) if isinstance(stage, dict)
    }
    of_stages = [override for override in overrides if override.split(".")[0] in names]
    of_recipe = [override for override in overrides if override not in of_stages]
    _check_heads(path, of_recipe, names)
    document = Document.read(path, of_recipe)
    recipe = document.validated(Recipe, _stage_problems)
    sequel = Sequel(recipe) if recipe.continual is not None else None
    experiments: list[Experiment] = []

    def made(stage: str, put_together: Callable[[], Document]) -> Experiment:
        typed = [
            Override.typed(text.removeprefix(f"{stage}."), text) for text in of_stages if text.startswith(f"{stage}.")
        ]

        def check(experiment: Experiment) -> Iterator[Problem]:
            yield from source_problems(experiment, experiments)
            yield from sequel.check(experiment, experiments) if sequel is not None else ()

        try:
            found = put_together()
            for override in typed:
                found.override(override)
            return checked(found, this_machine=this_machine, check=check)
        except ConfigError as error:
            of_stage, own = f"stage {stage}: ", tuple(override.where for override in typed)  # whose lines say so
            lines = [
                line if line.startswith(own) or f": {of_stage}" in line else f"{path}: {of_stage}{line}"
                for line in str(error).splitlines()
            ]
            raise ConfigError("\n".join(lines)) from error

    for number, stage in enumerate(recipe.steps):
        put_together = partial(_experiment, path, document, recipe, number, stage, sequel, experiments)
        experiments.append(made(stage.name, put_together))
    if sequel is None:
        return recipe, experiments
    measuring = {
        stage.name: [
            made(one.data["name"], partial(_itself, one)) for one in sequel.measuring(stage.name, document, experiments)
        ]
        for stage in recipe.steps
    }
    return recipe, [one for stage in experiments for one in (stage, *measuring[stage.name])]


def load_stage(
    path: Path, name: str, overrides: Sequence[str] = (), *, by: str = "command line", this_machine: bool = True
) -> Experiment:
    """One stage of a recipe as an experiment of its own; what it takes from earlier stages must be overridden. Raises
    ConfigError."""
    document = Document.read(path)
    recipe = document.validated(Recipe, _stage_problems)
    numbers = {stage.name: number for number, stage in enumerate(recipe.steps)}
    if name not in numbers:
        raise ConfigError(f"{path}: has no stage {name!r}{did_you_mean(name, numbers)} (stages: {', '.join(numbers)})")
    put_together = _experiment(path, document, recipe, numbers[name], recipe.steps[numbers[name]])
    for override in overrides:
        put_together.override(Override.typed(override, by=by))
    return checked(put_together, this_machine=this_machine, check=source_problems)


def _itself(document: Document) -> Document:
    return document


def _experiment(
    path: Path,
    document: Document,
    recipe: Recipe,
    number: int,
    stage: Stage,
    sequel: Sequel | None = None,
    earlier: Sequence[Experiment] = (),
) -> Document:
    """The stage's file, `common` over it, the stage's own sections over both, then its keys with dots, and last what
    follows from `earlier` tasks."""
    place, suffix = ("stages", number), f": stage {stage.name}"
    where = document.where(place) + suffix
    found = Document.empty(where) if stage.config is None else Document.read(path.parent / stage.config)
    if recipe.common:
        found.put_over(document, ("common",), suffix)
    found.put_over(document, place, suffix, leave_out=lambda key: key in ("name", "config") or "." in key)
    for key, value in stage.settings.items():
        if "." in key:
            found.override(Override(f"{key}={json.dumps(value)}", document.where((*place, key)) + suffix))
    own_seed = {} if "seed" in stage.settings else {"seed": recipe.seed}
    for key, value in ({"name": stage.name} | own_seed).items():
        found.override(Override(f"{key}={json.dumps(value)}", document.where((*place, "name")) + suffix))
    if sequel is not None:
        sequel.put_over(found, stage.name, earlier, document.where(("continual",)) + suffix)
    return found


def _stage_problems(recipe: Recipe) -> Iterator[Problem]:
    yield from continual_problems(recipe)
    seen: set[Any] = set()
    for number, stage in enumerate(recipe.stages):
        name, key = stage.get("name"), ("stages", number, "name")
        if name is None:
            yield Problem(key, "required key is missing: name of the stage and of its folder")
        elif not isinstance(name, str) or not re.match(NAME, name):
            yield Problem(key, f"wanted text that matches {NAME}, got {name!r}")
        elif name in seen:
            yield Problem(key, f"{name!r} is the name of an earlier stage, too; give each its own")
        seen.add(name if isinstance(name, str) else None)
        if "set" in stage:
            hint = "write its keys into the stage itself, where a key with dots replaces all that was said there"
            yield Problem(("stages", number, "set"), f"is no longer a key: {hint}")
        if not isinstance(stage.get("config"), str | None):
            yield Problem(("stages", number, "config"), "wanted the path of an experiment's file")


def _check_heads(path: Path, overrides: Sequence[str], stages: set[str]) -> None:
    """Raises ConfigError for an override that begins with neither a stage nor a key of the recipe."""
    for override in overrides:
        key = override.split("=")[0]
        head = key.split(".")[0]
        if head not in Recipe.model_fields:
            known = sorted(stages)
            near = did_you_mean(head, [*known, *Recipe.model_fields])
            example = f"; a stage's settings begin with its name, as in {known[0]}.{key}=..." if known else ""
            raise ConfigError(
                f"{Override.typed(override).where}: {head} is neither a stage nor a key of the recipe {path} "
                f"(stages: {', '.join(known)}){near or example}"
            )
