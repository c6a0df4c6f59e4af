"""`python -m benchmarks.over_optimization`: run the recipe, then draw the curves, print where they turn, and save both
as JSON."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.command import Quick, run_command
from benchmarks.over_optimization import data
from benchmarks.over_optimization.curves import (
    Point,
    Scale,
    best_of_n_curve,
    frontier_gap,
    ppo_curve,
    read_samples,
    turning_point,
)
from benchmarks.over_optimization.figure import draw
from rlsys.check.load import load
from rlsys.config.document import load_as
from rlsys.config.experiment import Experiment
from rlsys.config.recipe import Recipe
from rlsys.errors import ConfigError
from rlsys.files import to_json, write_whole
from rlsys.run.folder import RECIPE, RunDir
from rlsys.run.recipe import resume_recipe, run_recipe

STAGES = Path(__file__).parent / "recipe.yaml"
SAMPLES, PPO = "best_of_n", "ppo_"
"""The recipe's sampling stage, and how its PPO stages' names begin."""
PPO_QUICK = ("method.prompts_per_step=16", "loop.steps=2", "loop.eval_every=1", "evaluation.prompts=16")
IMITATION_QUICK = ("loop.steps=2", "policy.ranks=1")
QUICK = (
    *(f"{stage}.{setting}" for stage in ("base", "sft", "reward_model") for setting in IMITATION_QUICK),
    "reward_model.loop.eval_every=0",
    "best_of_n.method.answers=8",
    "best_of_n.loop.steps=1",
    *(f"ppo_{penalty}_kl.{setting}" for penalty in ("low", "high") for setting in PPO_QUICK),
)
HEADER = ("run", "KL at the turn", "gold there", "KL at the end", "gold at the end", "proxy at the end")


def main(
    seed: Annotated[int, typer.Option(help="Of data and runs.")] = 0,
    output: Annotated[Path, typer.Option(help="Folder in which the run's folder is made.")] = Path("runs"),
    run: Annotated[Path | None, typer.Option(help="Go on with this run, or only draw it anew if it is done.")] = None,
    figure: Annotated[bool, typer.Option(help="Draw the curves, which needs matplotlib.")] = True,
    quick: Quick = False,
) -> None:
    """The over-optimisation curve: a reward model trained where length helps, optimised where it does not."""
    if figure and importlib.util.find_spec("matplotlib") is None:
        raise ConfigError(
            "the figure needs matplotlib, which is not installed; run `pip install matplotlib`, or `make "
            "overoptimization`, which does, or leave the figure out with --no-figure"
        )
    from actors.spawn import spawn

    summary = resume_recipe(run, spawn) if run else run_recipe(STAGES, settings(seed, output, quick), spawn)
    report(Path(summary["run"]), figure, Console())


def settings(seed: int, output: Path, quick: bool) -> list[str]:
    """Overrides of the recipe; writes the data that they name."""
    files = data.write(output / f"over-optimization-data-{seed}", seed)
    return [
        f"seed={seed}",
        f"output={output}",
        f"base.data.train.path={files['base']}",
        f"sft.data.train.path={files['sft']}",
        f"reward_model.data.train.path={files['comparisons_train']}",
        f"reward_model.data.eval={{path: {files['comparisons_test']}}}",
        *(QUICK if quick else ()),
    ]


def report(folder: Path, figure: bool, console: Console) -> None:
    """Everything that is made of a finished run: JSON and, if wanted, the figure in its folder, and the table."""
    recipe = load_as(Recipe, folder / RECIPE)
    experiments = {stage.name: load(folder / f"{stage.name}.yaml", this_machine=False) for stage in recipe.steps}
    scale, curves = all_curves(folder, experiments)
    file = folder / "over_optimization.json"
    write_whole(
        file,
        to_json({"seed": recipe.seed, "proxy_scale": asdict(scale), "curves": as_records(curves)}, indent=1) + "\n",
    )
    made = [file]
    if figure:
        made.append(file.with_suffix(".png"))
        draw(curves, f"Best-of-n and PPO against a reward model, seed {recipe.seed}", made[-1])
    console.print(table(curves))
    low, *others = [name for name in curves if name.startswith("PPO")]
    for name in others:
        gap = frontier_gap(curves[name], curves[low])
        console.print(f"gold of {name} minus that of {low} at the same KL: {gap:+.2f} on average")
    console.print(f"saved as {' and '.join(map(str, made))}", soft_wrap=True)


def all_curves(folder: Path, experiments: Mapping[str, Experiment]) -> tuple[Scale, dict[str, list[Point]]]:
    """Best-of-n, then PPO in the order of the recipe, by what people call them."""
    steps = experiments[SAMPLES].loop.steps
    assert steps is not None, "the recipe says how many"
    prompts = read_samples(RunDir(folder / SAMPLES), steps)
    scale = Scale.of(
        [raw for prompt in prompts for raw in prompt.proxy], [gold for prompt in prompts for gold in prompt.gold]
    )
    curves = {"best-of-n": best_of_n_curve(prompts, scale)}
    for name, experiment in experiments.items():
        if name.startswith(PPO):
            curves[f"PPO, KL penalty {experiment.method.kl_coef:g}"] = ppo_curve(RunDir(folder / name), scale)
    return scale, curves


def as_records(curves: Mapping[str, Sequence[Point]]) -> dict[str, Any]:
    return {
        name: {"turning_point": asdict(turning_point(curve)), "points": [asdict(point) for point in curve]}
        for name, curve in curves.items()
    }


def table(curves: Mapping[str, Sequence[Point]]) -> Table:
    """One row per curve; the end is the last point."""
    made = Table(*HEADER)
    for name, curve in curves.items():
        turn, end = turning_point(curve), curve[-1]
        made.add_row(name, *(f"{value:.2f}" for value in (turn.kl, turn.gold, end.kl, end.gold, end.proxy)))
    return made


if __name__ == "__main__":
    run_command(main)
