"""A run that makes its model of the files of others, without actors: no rows, no steps, no loop."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rlsys.config.experiment import Experiment
from rlsys.merging.card import RECORD
from rlsys.merging.write import locate
from rlsys.methods.base import PACKAGE, MakesOfFiles
from rlsys.registry import resolve
from rlsys.run.folder import RunDir
from rlsys.run.loop import State
from rlsys.run.progress import print_table
from rlsys.run.summary import summarize, summary_rows


def make(experiment: Experiment, run_dir: RunDir, measure: Callable[[Path, str], float]) -> dict[str, Any]:
    """Make the run's model; returns the summary. A resumed run begins anew: the model is there whole or not at all."""
    started = time.monotonic()
    method: MakesOfFiles = resolve(PACKAGE, experiment.method.name, "Method")(experiment.method, experiment.sampling, 0)
    if not (run_dir.final / "config.json").is_file():
        method.make(experiment, lambda path: locate(path, experiment.output / "playground"), run_dir.final, measure)
    record = json.loads((run_dir.final / RECORD).read_text(encoding="utf-8"))
    weights = hashlib.sha256("".join(record["weights"].values()).encode()).hexdigest()
    summary = summarize(run_dir, State(), (), None, {"policy": weights}, time.monotonic() - started)
    summary |= {"merged": merged_rows(record), "warnings": []}
    run_dir.write_summary(summary)
    print_table(run_dir.name, summary_rows(summary))
    return summary


def merged_rows(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What went in, and what a greedy soup tried on the way; for people."""
    rows = [("merged by", record["by"]["name"]), ("base", record["base"]["path"])]
    rows += [
        (f"model {number}", f"{one['path']}, weight {one['weight']:g}" if one["used"] else f"{one['path']}, left out")
        for number, one in enumerate(record["models"])
    ]
    return rows + [
        (f"soup of {', '.join(map(str, one['models']))}", f"{one['score']:.3f}{', kept' if one['kept'] else ''}")
        for one in record["tried"]
    ]
