"""`python -m benchmarks.estimators`: every preset of the policy-gradient family on a verifiable task of the playground,
and a table of how far each came.

Each run starts from the same supervised model (of its seed), samples 256 answers a step for 40 steps, and is measured
every 4 steps on held-out questions. Learning rates are ours, one per number of updates per step, not tuned per method:
the table shows that each method works, not which is best.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from actors.spawn import spawn
from benchmarks.child import REPOSITORY
from benchmarks.command import Quick, run_command
from benchmarks.machine import describe
from rlsys import registry
from rlsys.check.recipe import load_stage
from rlsys.commands.presets import presets
from rlsys.errors import ConfigError, did_you_mean
from rlsys.run.folder import RunDir
from rlsys.run.metrics import MetricsLog
from rlsys.run.train import train

GOAL = 0.8
LEARNING_RATES = {1: 3e-4, 4: 1e-4, 16: 3e-5}
"""By updates per step."""
RECIPE = REPOSITORY / "configs" / "quickstart.yaml"


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything."""

    warmup_steps: int
    steps: int
    eval_every: int
    samples: int
    """Answers of one step, however a preset splits them into groups."""
    questions: int
    """Held out."""


FULL = Size(warmup_steps=250, steps=40, eval_every=4, samples=256, questions=256)
QUICK = Size(warmup_steps=2, steps=2, eval_every=1, samples=32, questions=8)
RESULTS = REPOSITORY / "benchmarks" / "results" / "estimators.json"


def main(
    only: Annotated[list[str] | None, typer.Option(help="Run this preset; may be given several times.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0, 1, ...")] = 3,
    output: Annotated[Path, typer.Option(help="Folder of the runs; finished ones are not run again.")] = Path(
        "runs/estimators"
    ),
    results: Annotated[Path, typer.Option(help="JSON file of what was found.")] = RESULTS,
    quick: Quick = False,
) -> None:
    """Every policy-gradient method on one task, in one table."""
    known, size = list(presets()), QUICK if quick else FULL
    chosen = only or known
    if unknown := [name for name in chosen if name not in known]:
        hint = did_you_mean(unknown[0], known)
        raise ConfigError(f"--only {unknown[0]}: no such preset{hint} (there are {', '.join(known)})")
    console = Console()
    found: dict[str, list[dict[str, Any]]] = {preset: [] for preset in chosen}
    for seed in range(seeds):
        warmup = [f"loop.steps={size.warmup_steps}", "logging.progress=off"]
        model = run(output, f"sft-{seed}", "warmup", seed, warmup)["model"]
        for preset in chosen:
            started = time.monotonic()
            run(output, f"{preset}-{seed}", "grpo", seed, [f"model.path={model}", *of_preset(preset, size)])
            outcome = measured(output / f"{preset}-{seed}")
            found[preset].append(outcome)
            console.print(f"{preset}, seed {seed}: {outcome}  {time.monotonic() - started:.0f} s")
    console.print(table(found))
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(json.dumps({"machine": describe(), "results": found}, indent=2) + "\n", encoding="utf-8")


def of_preset(name: str, size: Size) -> list[str]:
    """Group size and updates are the preset's; the number of prompts makes up for the group size."""
    config = registry.resolve("rlsys.methods", name, "Config")()
    rate = LEARNING_RATES[config.epochs * config.mini_batches]
    critic = ["critic={learning_rate: 1.0e-3, tokens_per_micro_batch: 8192}"] if config.baseline == "gae" else []
    return [
        f"method={{name: {name}, prompts_per_step: {size.samples // config.group_size}}}",
        f"policy.learning_rate={rate}",
        f"loop.steps={size.steps}",
        f"loop.eval_every={size.eval_every}",
        "loop.checkpoint_every=0",
        f"evaluation={{prompts: {size.questions}, samples: 2, greedy: false}}",
        "logging.progress=off",
        *critic,
    ]


def run(output: Path, name: str, stage: str, seed: int, overrides: list[str]) -> dict[str, Any]:
    """The summary of a run of the recipe's stage; one that was broken off is begun anew."""
    folder = RunDir((output / name).absolute())
    if not folder.summary.exists():
        shutil.rmtree(folder.path, ignore_errors=True)
        given = [f"name={name}", f"output={output}", f"seed={seed}", *overrides]
        train(load_stage(RECIPE, stage, given, by="benchmarks.estimators"), spawn)
    return json.loads(folder.summary.read_text(encoding="utf-8"))


def measured(folder: Path) -> dict[str, Any]:
    """Held-out sampled accuracy before and after, and the first measured step that reached the goal (None: none
    did)."""
    key = "eval/accuracy_sampled"
    course = {line["step"]: line[key] for line in MetricsLog.read(folder / "metrics.jsonl") if key in line}
    reached = [step for step, accuracy in course.items() if accuracy >= GOAL]
    return {"before": course[0], "after": course[max(course)], "steps_to_goal": min(reached, default=None)}


def table(found: dict[str, list[dict[str, Any]]]) -> Table:
    shown = Table(
        "preset",
        "before",
        "after",
        f"steps to {GOAL:.0%}",
        title="held-out accuracy, sampled; each seed, and their mean",
    )
    for preset, outcomes in found.items():
        before, after = ([outcome[key] for outcome in outcomes] for key in ("before", "after"))
        steps = ", ".join(
            "-" if outcome["steps_to_goal"] is None else str(outcome["steps_to_goal"]) for outcome in outcomes
        )
        shown.add_row(
            preset, f"{fmean(before):.3f}", f"{', '.join(f'{value:.3f}' for value in after)}; {fmean(after):.3f}", steps
        )
    return shown


if __name__ == "__main__":
    run_command(main)
