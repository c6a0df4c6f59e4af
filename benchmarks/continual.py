"""`python -m benchmarks.continual`: run the demo of continual learning with every choice against forgetting, all weights
or LoRA trained, on three seeds; then print what is left of the first task and what was learned of the second, and save
it as JSON.

Both tasks are measured as in `benchmarks.merge`. What has been run already is not run again, so it goes on where it was
broken off; `--seed` and `--only` run a part.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.command import Quick, run_command
from benchmarks.merge import ability
from rlsys.check.load import load
from rlsys.continual.matrix import Measures, measures, model_of
from rlsys.files import to_json, write_whole
from rlsys.roles import Spawn
from rlsys.run.folder import RECIPE, RunDir
from rlsys.run.recipe import resume_recipe, run_recipe
from rlsys.run.train import resume, train

CONFIGS = Path(__file__).parents[1] / "configs" / "continual"
TASKS = ("sort", "letters")
SEEDS = (0, 1, 2)
EWC, REPLAY = "{kind: ewc, strength: 100.0, samples: 256}", "{kind: replay, fraction: 0.2}"
LORA = (
    "common.model.adapter={kind: lora, rank: 16}",
    *(f"{task}.policy.learning_rate=0.01" for task in TASKS),
)
CELLS: dict[str, tuple[str, ...]] = {
    "full, none": ("continual.against={kind: none}",),
    "full, replay": (f"continual.against={REPLAY}",),
    "full, ewc": (f"continual.against={EWC}",),
    "lora, none": ("continual.against={kind: none}", *LORA),
    "lora, replay": (f"continual.against={REPLAY}", *LORA),
    "lora, ewc": (f"continual.against={EWC}", *LORA),
    "lora, isolation": ("continual.against={kind: isolation}", *LORA),
}
"""Overrides of the recipe."""
QUICK = ("sort.loop.steps=1", "letters.loop.steps=1")


@dataclass(frozen=True, slots=True)
class Result:
    """Of one cell and seed: R[i][j], the share of task j's held-out samples that are right after task i."""

    matrix: list[list[float]]

    @property
    def measures(self) -> Measures:
        return measures(self.matrix)


def main(
    seed: Annotated[list[int] | None, typer.Option(help="Of the runs; none runs all three.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Cells to run, as 'full, ewc'; none runs all.")] = None,
    output: Annotated[Path, typer.Option(help="Folder in which all runs are.")] = Path("runs/demo-continual"),
    quick: Quick = False,
) -> None:
    """Two tasks one after the other, with every choice against forgetting."""
    from actors.spawn import spawn

    samples = 1 if quick else 4
    for number in seed or SEEDS[: 1 if quick else 3]:
        for cell in only or CELLS:
            if cell not in CELLS:
                raise typer.BadParameter(f"{cell!r} is no cell; there are: {'; '.join(CELLS)}")
            file = output / f"{folder_name(cell, number)}.json"
            if not file.exists():
                result = run(cell, number, output, spawn, quick, samples)
                write_whole(file, to_json(asdict(result), indent=1) + "\n")
    report(output, Console())


def folder_name(cell: str, seed: int) -> str:
    return f"{cell.replace(', ', '-')}-{seed}"


def run(cell: str, seed: int, output: Path, spawn: Spawn, quick: bool, samples: int) -> Result:
    base = trained_base(seed, output, spawn, quick)
    name = folder_name(cell, seed)
    if (output / name / RECIPE).is_file():
        summary = resume_recipe(output / name, spawn)
    else:
        common = (f"name={name}", f"output={output}", f"seed={seed}", "continual.measure={}")
        settings = (*common, f"common.model.path={base}", *CELLS[cell], *(QUICK if quick else ()))
        summary = run_recipe(CONFIGS / "demo.yaml", settings, spawn)
    finals = {task: RunDir(Path(summary["run"]) / task).final for task in TASKS}

    def score(i: int, j: int) -> float:
        model = model_of(i, j, isolates=cell.endswith("isolation"))
        found = ability(base if model is None else finals[TASKS[model]], samples)
        return (found.sort, found.letters)[j]

    return Result([[score(i, j) for j in range(len(TASKS))] for i in range(len(TASKS))])


def trained_base(seed: int, output: Path, spawn: Spawn, quick: bool) -> Path:
    """What every cell of the seed begins with."""
    run_dir = RunDir(output / f"base-{seed}")
    if not run_dir.summary.exists():
        if run_dir.config.exists():
            resume(run_dir.path, spawn)
        else:
            settings = [f"name={run_dir.name}", f"output={output}", f"seed={seed}"]
            train(load(CONFIGS / "base.yaml", [*settings, *(("loop.steps=1",) if quick else ())]), spawn)
    return run_dir.final


def results(output: Path) -> dict[str, list[Result]]:
    """Of each cell that was run, its seeds in order."""
    found: dict[str, list[Result]] = {}
    for cell in CELLS:
        files = [output / f"{folder_name(cell, seed)}.json" for seed in SEEDS]
        there = [Result(**json.loads(file.read_text())) for file in files if file.exists()]
        if there:
            found[cell] = there
    return found


def report(output: Path, console: Console) -> None:
    found = results(output)
    file = output / "continual.json"
    plain = {cell: [{**asdict(one), **asdict(one.measures)} for one in seeds] for cell, seeds in found.items()}
    write_whole(file, to_json(plain, indent=1) + "\n")
    console.print(table(found))
    console.print(f"means over seeds of shares of samples on held-out prompts; saved as {file}")


HEADER = ("trained, against", "seeds", "sort then", "sort now", "letters", "average", "backward", "forgetting")


def table(found: Mapping[str, Sequence[Result]]) -> Table:
    """Means over seeds. After the cell's name, in how many of them it kept more of sorting than nothing did."""
    made = Table(*HEADER, "keeps more than none", title="sorting first, then letters")
    for cell, seeds in found.items():
        nothing = found.get(f"{cell.split(', ')[0]}, none", ())
        pairs = list(zip(seeds, nothing, strict=False))
        more = sum(own.matrix[1][0] > none.matrix[1][0] for own, none in pairs)
        columns = [
            [one.matrix[0][0] for one in seeds],
            [one.matrix[1][0] for one in seeds],
            [one.matrix[1][1] for one in seeds],
            [one.measures.average for one in seeds],
            [one.measures.backward_transfer or 0.0 for one in seeds],
            [one.measures.forgetting or 0.0 for one in seeds],
        ]
        kept = "" if cell.endswith("none") else f"{more} of {len(pairs)}"
        made.add_row(cell, str(len(seeds)), *(f"{fmean(column):.3f}" for column in columns), kept)
    return made


if __name__ == "__main__":
    run_command(main)
