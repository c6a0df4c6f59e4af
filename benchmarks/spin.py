"""`python -m benchmarks.spin`: run SPIN's demo, then print how far the policy is from the data after each iteration,
and save it as JSON.

The distance is KL(data || policy), nats per answer, without bias: the mean over held-out answers of log p_data - log
p_policy, of which the first is known in closed form, because the data are the playground's letters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.command import Quick, run_command
from rlsys.files import to_json, write_whole
from rlsys.playground.letters import log_prob_of_answer
from rlsys.playground.tasks import rows
from rlsys.run.folder import RunDir
from rlsys.run.metrics import MetricsLog
from rlsys.run.recipe import resume_recipe, run_recipe

RECIPE = Path(__file__).parents[1] / "configs" / "spin" / "demo.yaml"
STAGE = "spin"
QUICK = ("warmup.loop.steps=2", "spin.loop.steps=1", "spin.method.prompts_per_step=56")
"""Overrides of the recipe."""
HEADER = (
    "iteration",
    "KL(data || policy)",
    "fell by",
    "loss, held out",
    "margin",
    "accuracy",
    "log p real",
    "log p generated",
)


@dataclass(frozen=True, slots=True)
class Iteration:
    """After its updates; number 0 is the start, of which only the distance is known. Of the loss's statistics, those on
    held-out pairs."""

    number: int
    distance: float
    fell_by: float | None = None
    loss: float | None = None
    margin: float | None = None
    accuracy: float | None = None
    real_log_prob: float | None = None
    generated_log_prob: float | None = None


def main(
    seed: Annotated[int, typer.Option(help="Of the runs.")] = 0,
    output: Annotated[Path, typer.Option(help="Folder in which the run's folder is made.")] = Path("runs"),
    run: Annotated[Path | None, typer.Option(help="Go on with this run, or only print it again if it is done.")] = None,
    quick: Quick = False,
) -> None:
    """SPIN on answers of a known distribution."""
    from actors.spawn import spawn

    settings = [f"seed={seed}", f"output={output}", *(QUICK if quick else ())]
    summary = resume_recipe(run, spawn) if run else run_recipe(RECIPE, settings, spawn)
    report(Path(summary["run"]), Console())


def report(folder: Path, console: Console) -> None:
    found = iterations(MetricsLog.read(RunDir(folder / STAGE).metrics), held_out_log_prob())
    file = folder / "spin.json"
    write_whole(file, to_json({"ln_2": math.log(2), "iterations": [asdict(one) for one in found]}, indent=1) + "\n")
    console.print(table(found))
    console.print(f"ln 2, the loss where nothing can be told apart, is {math.log(2):.4f}; saved as {file}")


def held_out_log_prob() -> float:
    """Of the held-out answers under the data's own distribution, mean over answers."""
    return fmean(log_prob_of_answer(row["prompt"], row["answer"]) for row in rows("letters", "test"))


def iterations(metrics: Sequence[dict[str, Any]], data_log_prob: float) -> list[Iteration]:
    found: list[Iteration] = []
    for line in metrics:
        distance = data_log_prob + line["eval/answer_nll"]
        own = {
            name: line.get(f"train/held_out_{name}")
            for name in ("loss", "margin", "accuracy", "real_log_prob", "generated_log_prob")
        }
        found.append(Iteration(line["step"], distance, found[-1].distance - distance if found else None, **own))
    return found


def table(found: Sequence[Iteration]) -> Table:
    made = Table(*HEADER)
    for one in found:
        number, *measured = asdict(one).values()
        made.add_row(str(number), *("" if value is None else f"{value:.3f}" for value in measured))
    return made


if __name__ == "__main__":
    run_command(main)
