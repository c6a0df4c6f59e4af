"""What several runs have to be compared by: settings, figures, curves, and the spread over seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rlsys.commands.report.changed_settings import between, comparable
from rlsys.commands.report.curves import NOT_DRAWN, Chart, of_curves, thinned
from rlsys.config.document import load_as
from rlsys.config.recipe import Recipe
from rlsys.errors import ConfigError, RunError
from rlsys.run.folder import RECIPE, RunDir, runs_in
from rlsys.run.record import Record

FIGURES = (
    "eval/*",
    "reward/mean",
    "reward/accuracy",
    "reward/abstained",
    "train/loss",
    "train/kl",
    "train/entropy",
    "rollout/response_length_mean",
    "rollout/tokens_per_second",
    "train/tokens_per_second",
)
"""Metrics whose last values are set side by side, as patterns."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Of one figure over runs that differ by their seed alone. `deviation`: the standard deviation (ddof 1)."""

    figure: str
    count: int
    mean: float
    deviation: float
    least: float
    most: float


@dataclass(frozen=True)
class Together:
    """Runs of one kind: those given, or, of recipes, their stages of one name."""

    name: str
    """Of the stage; empty for runs."""
    labels: Sequence[str]
    records: Sequence[Record]

    def differences(self) -> list[tuple[str, ...]]:
        """Each setting in which they differ, and its value in each run."""
        return between(self._configs())

    def _configs(self) -> list[dict[str, Any]]:
        return [comparable(record.run, record.config) for record in self.records]

    def figures(self) -> list[tuple[str, list[float | None]]]:
        """Each figure, and its last value in each run; None where a run has none."""
        own = [last_figures(record) for record in self.records]
        return [(name, [one.get(name) for one in own]) for name in sorted({name for one in own for name in one})]

    def seeds(self) -> list[tuple[list[int], list[Spread]]]:
        """Of each set of at least two runs that differ by their seed alone: which runs, and the spread of the figures
        that all of them have."""
        sets: dict[str, list[int]] = {}
        for place, config in enumerate(self._configs()):
            rest = {key: value for key, value in config.items() if key != "seed"}
            sets.setdefault(json.dumps(rest, sort_keys=True), []).append(place)
        found = []
        for places in sets.values():
            seeds = {self.records[place].config.get("seed") for place in places}
            if len(seeds) > 1:
                rows = [(name, [values[place] for place in places]) for name, values in self.figures()]
                found.append((places, [spread for name, values in rows if (spread := spread_of(name, values))]))
        return found

    def charts(self, most: int) -> list[Chart]:
        """One for each metric that at least one run has; of each run at most so many steps."""
        names = {name for record in self.records for line in record.metrics for name in line}
        return [
            chart
            for curve, metrics in of_curves(names).items()
            for metric in metrics
            if (chart := self._chart(metric, curve.formula, most)).series
        ]

    def _chart(self, metric: str, formula: str, most: int) -> Chart:
        measured = [
            {line["step"]: line[metric] for line in record.metrics if line.get(metric) is not None}
            for record in self.records
        ]
        kept = [dict(thinned([*own.items()], most)) for own in measured]
        steps = sorted({step for own in kept for step in own})
        series = [
            (label, [own.get(step) for step in steps]) for label, own in zip(self.labels, kept, strict=True) if own
        ]
        return Chart(metric, formula, steps, series, len({step for own in measured for step in own}))


def together(folders: Sequence[Path]) -> list[Together]:
    """The runs given; of recipes, each stage that at least two of them have begun. Raises ConfigError for what can't be
    compared, RunError for what is no run."""
    if len(folders) < 2:
        raise ConfigError("compare: give two runs or more")
    paths = [folder.expanduser().absolute() for folder in folders]
    if twice := [folder for place, folder in enumerate(folders) if paths[place] in paths[:place]]:
        raise ConfigError(f"{twice[0]}: given twice; name each run once")
    names = [path.name for path in paths]
    labels = names if len({*names}) == len(names) else [str(folder) for folder in folders]
    recipes = [(path / RECIPE).is_file() for path in paths]
    if not any(recipes):
        return [Together("", labels, [Record.read(RunDir.open(folder)) for folder in folders])]
    if not all(recipes):
        plain = folders[recipes.index(False)]
        raise ConfigError(
            f"{plain}: is no recipe, and others are; name the stages to compare it with, as in RECIPE/STAGE"
        )
    return _of_stages(folders, labels)


def _of_stages(folders: Sequence[Path], labels: Sequence[str]) -> list[Together]:
    begun = [{run.name: run for run in runs_in(folder)} for folder in folders]
    order = dict.fromkeys(stage.name for folder in folders for stage in load_as(Recipe, folder / RECIPE).steps)
    found = []
    for stage in order:
        own = [(label, runs[stage]) for label, runs in zip(labels, begun, strict=True) if stage in runs]
        if len(own) > 1:
            found.append(Together(stage, [label for label, _ in own], [Record.read(run) for _, run in own]))
    if not found:
        raise RunError(f"{', '.join(map(str, folders))}: no two of these recipes have begun a stage of the same name")
    return found


def last_figures(record: Record) -> dict[str, float]:
    """The newest value of each metric of `FIGURES`; of a finished run, what was measured of its model comes first."""
    found: dict[str, float] = {}
    for line in record.metrics:
        found |= {name: value for name, value in line.items() if value is not None}
    found |= {} if record.summary is None else record.summary["after"]
    return {
        name: value
        for name, value in found.items()
        if any(fnmatchcase(name, pattern) for pattern in FIGURES)
        and not any(fnmatchcase(name, pattern) for pattern in NOT_DRAWN)
    }


def spread_of(figure: str, values: Sequence[float | None]) -> Spread | None:
    """None where a run has no value."""
    numbers = [value for value in values if value is not None]
    if len(numbers) < len(values):
        return None
    return Spread(figure, len(numbers), fmean(numbers), stdev(numbers), min(numbers), max(numbers))


def differing_seeds(one: Together, places: Sequence[int]) -> Mapping[str, Any]:
    """Label and seed of some of the runs."""
    return {one.labels[place]: one.records[place].config.get("seed") for place in places}
