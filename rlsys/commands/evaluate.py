"""`rlsys evaluate`: several models measured on the same data, side by side. Each is a run of method `evaluate`, with
everything that a run leaves."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlsys.check.load import checked
from rlsys.commands.named_models import dtype_of, files, model_paths
from rlsys.config.document import Document, Override
from rlsys.config.experiment import Experiment
from rlsys.files import to_json, write_whole
from rlsys.roles import Spawn
from rlsys.run.folder import RunDir
from rlsys.run.progress import print_line, print_table
from rlsys.run.summary import MODES, from_here, mode_of

RESULT = "evaluation.json"
BASE: dict[str, Any] = {
    "method": {"name": "evaluate"},
    "loop": {"steps": 1},
    "sampling": {"max_tokens": 512},
    "evaluation": {"prompts": None, "samples": 0},
}
"""What every such run has in common; greedy answers are measured, and all prompts."""


@dataclass(frozen=True)
class Measured:
    """One model on one data set."""

    model: str
    """As it was typed."""
    experiment: Experiment
    summary: dict[str, Any]

    @property
    def measures(self) -> dict[str, float]:
        return {name.removeprefix("eval/"): value for name, value in sorted(self.summary["after"].items())}

    @property
    def prompts(self) -> int:
        """How many it was measured on."""
        read, most = sum(data["kept"] for data in self.summary["data"]), self.experiment.evaluation.prompts
        return read if most is None else min(read, most)

    def plain(self) -> dict[str, Any]:
        own = {"model": self.model, "path": self.experiment.model.path, "run": self.summary["run"]}
        return {**own, "prompts": self.prompts, "data": self.summary["data"], "measures": self.measures}


def prepared(
    models: Sequence[str],
    settings: Sequence[Override],
    output: Path,
    tasks: Document | None = None,
    task: str | None = None,
) -> dict[str, Experiment]:
    """The run of each model; whatever is wrong with any of them is found before one starts. `task`: a section of
    `tasks`, which says what is measured below `settings`. Raises ConfigError."""
    from rlsys.models.load import local_path  # brings transformers
    from rlsys.run.preflight import check_models

    experiments = {}
    for name, path in model_paths(models).items():
        document = Document.empty("rlsys evaluate")
        document.data = {"name": folder_name(name), "output": str(output), **json.loads(json.dumps(BASE))}
        document.override(Override(f"model.path={json.dumps(path)}", name))
        if tasks is not None and task is not None:
            document.put_over(tasks, (task,))
        for setting in settings:
            document.override(setting)
        experiment = checked(document)
        folder = files(name, path, output)
        model = {"path": str(folder)} | ({} if "dtype" in document.data["model"] else {"dtype": dtype_of(folder)})
        experiment = experiment.model_copy(update={"model": experiment.model.model_copy(update=model)})
        check_models(experiment, lambda path: local_path(path, output / "playground"))
        experiments[name] = experiment
    return experiments


def evaluate(
    models: Sequence[str], settings: Sequence[Override], output: Path, name: str, spawn: Spawn
) -> tuple[Path, list[Measured]]:
    """Measure each model in turn, in a new folder `output/name` with one run's folder for each and all measures in
    `evaluation.json`; returns that file, and the measures. What the runs print goes to stderr."""
    from rlsys.run.train import train  # brings transformers

    experiments = prepared(models, settings, output)
    folder = RunDir.create(output, name).path
    found = []
    for model, experiment in experiments.items():
        with redirect_stdout(sys.stderr):
            summary = train(experiment.model_copy(update={"output": folder}), spawn)
        found.append(Measured(model, experiment, summary))
    write_whole(folder / RESULT, to_json(result(found), indent=2) + "\n")
    return folder / RESULT, found


def result(found: Sequence[Measured]) -> dict[str, Any]:
    """Plain data: what was asked, and what each model measured."""
    first = found[0].experiment
    asked = {
        "data": first.data.model_dump(mode="json"),
        "rewards": [spec.model_dump(mode="json") for spec in first.rewards],
        "sampling": first.sampling.model_dump(mode="json"),
        "evaluation": first.evaluation.model_dump(mode="json"),
        "seed": first.seed,
    }
    return {**asked, "models": [one.plain() for one in found]}


def show(file: Path, found: Sequence[Measured]) -> None:
    """The table on stdout, a warning on stderr."""
    if warning := different_prompts(found):
        print_line(warning)
    print_table(from_here(str(file)), table(found))


def table(found: Sequence[Measured]) -> list[tuple[str, ...]]:
    """A row for each measure, a column for each model; the first row names the models."""
    rows = [("", *(one.model for one in found)), ("prompts", *(f"{one.prompts:,}" for one in found))]
    names = {name: None for one in found for name in one.measures}
    for mode in (*MODES, ""):
        told: set[tuple[float | None, ...]] = set()
        for name in (name for name in names if mode_of(name) == mode):
            values = tuple(one.measures.get(name) for one in found)
            # Where one reward says right or wrong, it and the accuracy are the same numbers.
            if ("@" not in name and values in told) or (name.startswith("abstained_") and not any(values)):
                continue
            told.add(values)
            rows.append((label(name, mode), *map(number, values)))
    return rows


def label(name: str, mode: str) -> str:
    if not mode:
        return name.replace("_", " ")
    plain = {"abstained": "answers not scored"}.get(own := name.removesuffix(f"_{mode}"), own.replace("_", " "))
    return f"{plain}, {mode}"


def folder_name(model: str) -> str:
    """Of the run that measures the model."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", model).strip("-.") or "model"


def different_prompts(found: Sequence[Measured]) -> str | None:
    """A warning: what the models were measured on is not the same."""
    counts: Mapping[str, int] = {one.model: one.prompts for one in found}
    if len(set(counts.values())) < 2:
        return None
    told = ", ".join(f"{model} {count:,}" for model, count in counts.items())
    return f"warning: not all models were measured on the same prompts ({told}): some are too long for some tokenizers"


def number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value == int(value) and abs(value) >= 2 else f"{value:.3f}"
