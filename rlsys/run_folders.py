"""What is in the folder of a run or a recipe, for whoever reads it afterwards."""

from __future__ import annotations

from pathlib import Path

from rlsys.config.load import load_as
from rlsys.config.recipe import Recipe
from rlsys.errors import RunError
from rlsys.run_dir import RunDir

RECIPE = "recipe.yaml"
"""The recipe, saved in its folder beside one resolved config per stage."""

JUDGE_EVAL, JUDGE_EVAL_RESULT = "judge_eval.yaml", "judge_eval.json"
"""The config and the result of `rlsys judge-eval`, in its folder."""


def runs_in(folder: Path) -> list[RunDir]:
    """The run in `folder`, or those of a recipe's stages that have begun, in their order. Raises RunError if it holds neither a run nor a recipe."""
    path = folder.expanduser().absolute()
    if (path / JUDGE_EVAL).is_file():
        result = folder / JUDGE_EVAL_RESULT
        state = f"its results are in {result}" if result.expanduser().is_file() else f"it has not finished: there is no {result} yet"
        raise RunError(f"{folder}: of `rlsys judge-eval`, which has no samples; {state}")
    if not (path / RECIPE).is_file():
        return [RunDir.open(folder)]
    runs = [RunDir(path / stage.name) for stage in load_as(Recipe, path / RECIPE).stages]
    return [run for run in runs if run.config.is_file()]


def recipe_folder(run: RunDir) -> Path | None:
    """The folder of the recipe that the run is a stage of."""
    return run.path.parent if (run.path.parent / RECIPE).is_file() else None


def is_run_or_recipe(folder: Path) -> bool:
    return (folder / RECIPE).is_file() or (folder / "config.yaml").is_file()
