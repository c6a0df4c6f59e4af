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
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from actors.spawn import spawn
from benchmarks.child import REPOSITORY
from benchmarks.machine import describe
from rlsys import registry
from rlsys.check.load import load
from rlsys.commands.presets import presets
from rlsys.run.folder import RunDir
from rlsys.run.metrics import MetricsLog
from rlsys.run.train import train

SAMPLES = 256
"""Answers of one step, however a preset splits them into groups."""
STEPS = 40
EVERY = 4
GOAL = 0.8
LEARNING_RATES = {1: 3e-4, 4: 1e-4, 16: 3e-5}
"""By updates per step."""
SETTINGS = (
    f"loop.steps={STEPS}",
    f"loop.eval_every={EVERY}",
    "loop.checkpoint_every=0",
    "evaluation={prompts: 256, samples: 2, greedy: false}",
    "logging.progress=off",
)
RESULTS = REPOSITORY / "benchmarks" / "results" / "estimators.json"


def main(
    only: Annotated[list[str] | None, typer.Option(help="Run this preset; may be given several times.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0, 1, ...")] = 3,
    output: Annotated[Path, typer.Option(help="Folder of the runs; finished ones are not run again.")] = Path(
        "runs/estimators"
    ),
) -> None:
    chosen = only or list(presets())
    console = Console()
    found: dict[str, list[dict[str, Any]]] = {preset: [] for preset in chosen}
    for seed in range(seeds):
        model = run(output, f"sft-{seed}", "quickstart_sft.yaml", seed, ["logging.progress=off"])["model"]
        for preset in chosen:
            started = time.monotonic()
            run(
                output,
                f"{preset}-{seed}",
                "quickstart_grpo.yaml",
                seed,
                [f"model.path={model}", *SETTINGS, *of_preset(preset)],
            )
            outcome = measured(output / f"{preset}-{seed}")
            found[preset].append(outcome)
            console.print(f"{preset}, seed {seed}: {outcome}  {time.monotonic() - started:.0f} s")
    console.print(table(found))
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps({"machine": describe(), "results": found}, indent=2) + "\n", encoding="utf-8")


def of_preset(name: str) -> list[str]:
    """Group size and updates are the preset's; the number of prompts makes up for the group size."""
    config = registry.resolve("rlsys.methods", name, "Config")()
    rate = LEARNING_RATES[config.epochs * config.mini_batches]
    critic = ["critic={learning_rate: 1.0e-3, tokens_per_micro_batch: 8192}"] if config.baseline == "gae" else []
    return [
        f"method={{name: {name}, prompts_per_step: {SAMPLES // config.group_size}}}",
        f"policy.learning_rate={rate}",
        *critic,
    ]


def run(output: Path, name: str, config: str, seed: int, overrides: list[str]) -> dict[str, Any]:
    """The run's summary; one that was broken off is begun anew."""
    folder = RunDir((output / name).absolute())
    if not folder.summary.exists():
        shutil.rmtree(folder.path, ignore_errors=True)
        given = [f"name={name}", f"output={output}", f"seed={seed}", *overrides]
        train(load(REPOSITORY / "configs" / config, given, by="benchmarks.estimators"), spawn)
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
    typer.run(main)
