"""`python -m benchmarks.forgetting`: run the demo of continual learning on three seeds, then print what is left of the
first task and what was learned of the second, with each choice against forgetting, and save it as JSON.

Both tasks are measured as in `benchmarks.merge`. A seed that was broken off goes on, and one that is done is not run
again; `--seed` runs one of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.command import Quick, run_command
from benchmarks.merge import Ability, ability
from rlsys.continual.matrix import Matrix, measures, model_of
from rlsys.files import to_json, write_whole
from rlsys.roles import Spawn
from rlsys.run.folder import RECIPE, RunDir
from rlsys.run.recipe import resume_recipe, run_recipe

DEMO = Path(__file__).parents[1] / "configs" / "continual" / "demo.yaml"
SEEDS = (0, 1, 2)
BASE = "base"
CELLS = {
    "full, none": ("sort", "letters_none"),
    "full, replay": ("sort", "letters_replay"),
    "full, ewc": ("sort", "letters_ewc"),
    "lora, none": ("sort_lora", "letters_lora_none"),
    "lora, ewc": ("sort_lora", "letters_lora_ewc"),
    "lora, isolation": ("sort_lora", "letters_lora_isolation"),
}
"""What is trained and what is done against forgetting; the stages of the two tasks."""
STAGES = (BASE, *dict.fromkeys(stage for stages in CELLS.values() for stage in stages))
QUICK = (*(f"{stage}.loop.steps=1" for stage in STAGES), "sort.ewc.samples=2", "sort_lora.ewc.samples=2")
"""Overrides of the recipe."""
HEADER = (
    "trained, against",
    "sort, learned",
    "sort, left",
    "letters",
    "average",
    "transfer",
    "forgetting",
    "keeps more",
)


def main(
    seed: Annotated[int | None, typer.Option(help="Of the runs; none runs all three.")] = None,
    output: Annotated[Path, typer.Option(help="Folder in which the runs' folders are made.")] = Path("runs"),
    quick: Quick = False,
) -> None:
    """Sorting, then letters, with every choice against forgetting."""
    from actors.spawn import spawn

    found = {}
    for number in SEEDS if seed is None else (seed,):
        found[number] = scores(run(number, output, spawn, quick), samples=1 if quick else 4)
    report(output, found, Console())


def run(seed: int, output: Path, spawn: Spawn, quick: bool) -> Path:
    """The recipe's folder, all done."""
    folder = output / f"demo-continual-seed-{seed}"
    if (folder / RECIPE).is_file():
        resume_recipe(folder, spawn)
    else:
        settings = [f"name={folder.name}", f"seed={seed}", f"output={output}", *(QUICK if quick else ())]
        run_recipe(DEMO, settings, spawn)
    return folder


def scores(folder: Path, samples: int) -> dict[str, Matrix]:
    """Of each cell R[i][j]: the share of task j's held-out samples that are right after task i."""
    can = {stage: ability(RunDir(folder / stage).final, samples) for stage in STAGES}
    return {cell: matrix(can, stages, cell.endswith("isolation")) for cell, stages in CELLS.items()}


def matrix(can: Mapping[str, Ability], stages: Sequence[str], isolates: bool) -> Matrix:
    def score(i: int, j: int) -> float:
        model = model_of(i, j, isolates)
        found = can[BASE if model is None else stages[model]]
        return (found.sort, found.letters)[j]

    return [[score(i, j) for j in range(2)] for i in range(2)]


def report(output: Path, found: Mapping[int, Mapping[str, Matrix]], console: Console) -> None:
    file = output / "demo-continual.json"
    plain = {
        cell: {seed: {"matrix": of[cell], **asdict(measures(of[cell]))} for seed, of in found.items()} for cell in CELLS
    }
    write_whole(file, to_json(plain, indent=1) + "\n")
    console.print(table(found))
    console.print(f"shares of samples on held-out prompts, means over seeds; saved as {file}")


def table(found: Mapping[int, Mapping[str, Matrix]]) -> Table:
    """Last, on how many seeds more is left of sorting than with nothing against forgetting."""
    made = Table(*HEADER, title=f"sorting, then letters; seeds {', '.join(map(str, found))}")
    for cell in CELLS:
        own = [of[cell] for of in found.values()]
        nothing = [of[f"{cell.partition(', ')[0]}, none"] for of in found.values()]
        more = sum(one[1][0] > none[1][0] for one, none in zip(own, nothing, strict=True))
        told = [measures(one) for one in own]
        columns = (
            [one[0][0] for one in own],
            [one[1][0] for one in own],
            [one[1][1] for one in own],
            [one.average for one in told],
            [one.backward_transfer for one in told if one.backward_transfer is not None],
            [one.forgetting for one in told if one.forgetting is not None],
        )
        kept = "" if cell.endswith("none") else f"{more} of {len(own)}"
        made.add_row(cell, *(f"{fmean(column):.3f}" for column in columns), kept)
    return made


if __name__ == "__main__":
    run_command(main)
