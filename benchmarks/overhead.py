"""The share of a training step that is neither generation, scoring, training nor sync, from the metrics of a real
run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.result import Aim, Result
from benchmarks.workload import Settings, experiment
from rlsys.roles import Spawn
from rlsys.run.folder import RunDir
from rlsys.run.metrics import MetricsLog
from rlsys.run.train import train

AIM = Aim(0.03, more_is_better=False)
WORK = ("time/collect", "time/learn", "time/sync")
"""Collecting is generation and scoring."""
WARM_UP = 2
STEPS = 4
"""Steps of the run for each repeat that is asked for."""


def run(settings: Settings, spawn: Spawn) -> Iterator[Result]:
    steps = WARM_UP + STEPS * settings.repeats
    summary = train(
        experiment(settings, f"loop.steps={steps}", "sampling.max_tokens=8", "policy.tokens_per_micro_batch=8192"),
        spawn,
    )
    other, whole = outside_work(MetricsLog.read(RunDir(Path(summary["run"])).metrics)[WARM_UP - 1 :])
    details = {"steps": len(whole)}
    yield Result(
        "overhead", settings.size, "share of the step outside collect, learn and sync", "s", other, whole, AIM, details
    )


def outside_work(records: Sequence[dict[str, Any]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Per step after the first record: seconds outside `WORK`, and seconds in all.

    A step is the time between two records, not `time/step`: so what happens between two steps counts, too.
    """
    whole = tuple(after["time"] - before["time"] for before, after in itertools.pairwise(records))
    work = [sum(record[name] for name in WORK) for record in records[1:]]
    return tuple(all_of_it - part for all_of_it, part in zip(whole, work, strict=True)), whole
