"""Runs from Python: what `import rlsys` offers. A mistake raises what the command line prints, as `rlsys.errors`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlsys.commands.validate import experiments
from rlsys.errors import ConfigError, RunError
from rlsys.run.folder import RunDir, runs_in
from rlsys.run.ledger import Ledger
from rlsys.run.record import Record, Standing
from rlsys.samples import Sample


@dataclass(frozen=True, slots=True)
class Run:
    """A run, or a recipe with its stages, in its folder: finished, under way or broken off. Make it with `open`."""

    path: Path

    @classmethod
    def open(cls, folder: Path | str) -> Run:
        """Raises RunError unless the folder is that of a run or a recipe."""
        path = Path(folder).expanduser().absolute()
        runs_in(path)
        return cls(path)

    @property
    def stages(self) -> dict[str, Run]:
        """The stages of a recipe that have begun, by name and in order; a run is its own only one."""
        return {run.name: Run(run.path) for run in runs_in(self.path)}

    @property
    def standing(self) -> Standing:
        """Of a recipe, that of the stage that it has come to. Raises RunError before one has begun."""
        records = self._records()
        if not records:
            raise RunError(f"{self.path}: none of the recipe's stages has begun")
        return records[-1].standing

    @property
    def model(self) -> Path | None:
        """The folder of the model that it left; None if there is none."""
        found = self.summary()["model"]
        return None if found is None else Path(found)

    def summary(self) -> dict[str, Any]:
        """What `summary.json` says. Raises RunError for a run that is not finished."""
        if not RunDir(self.path).summary.exists():
            raise RunError(f"{self.path}: is not finished, so there is no summary yet")
        return RunDir(self.path).read_summary()

    def metrics(self) -> list[dict[str, Any]]:
        """A record for each step: `stage`, `step`, `time` (seconds since 1970), and the metrics by name. Fit for
        `pandas.DataFrame`."""
        return [{"stage": record.run.name, **line} for record in self._records() for line in record.metrics]

    def samples(
        self, step: int | None = None, phase: str | None = None, containing: str | None = None, most: int = 1000
    ) -> list[Sample]:
        """At most so many samples of each stage, in the order of recording: of a step, of a phase (`train`, `eval`),
        with a text in prompt or response."""
        found: list[Sample] = []
        for run in runs_in(self.path):
            if run.ledger.exists():
                with Ledger(run.ledger, read_only=True) as ledger:
                    found += ledger.find("rowid", most, step, phase, containing)[0]
        return found

    def report(self) -> Path:
        """Write `report.html`, of a recipe also those of its stages; returns its path."""
        from rlsys.commands.report.html import write_all

        return write_all(self.path)

    def _records(self) -> list[Record]:
        return [Record.read(run) for run in runs_in(self.path)]


def train(config: Path | str, overrides: Mapping[str, Any] | Sequence[str] = ()) -> Run:
    """Run an experiment or a recipe in a new folder, as `rlsys train` does, and return it when it has ended.

    `overrides` are settings by dotted key, as in {"seed": 1, "grpo.loop.steps": 20}, or as typed, "seed=1". Raises
    ConfigError before anything is started, RlsysError for what goes wrong later.
    """
    path, settings = Path(config), typed(overrides)
    kind, _ = experiments(path, settings)  # before Ray is even imported, so that a mistake costs no time
    from actors.spawn import spawn

    if kind == "recipe":
        from rlsys.run.recipe import run_recipe

        return Run(Path(run_recipe(path, settings, spawn)["run"]))
    from rlsys.check.load import load
    from rlsys.run.train import train as run

    return Run(Path(run(load(path, settings), spawn)["run"]))


def typed(overrides: Mapping[str, Any] | Sequence[str]) -> list[str]:
    """Overrides as one types them. Raises ConfigError for a value that a config can't hold."""
    if not isinstance(overrides, Mapping):
        return [*overrides]
    settings = []
    for key, value in overrides.items():
        try:
            plain = str(value) if isinstance(value, Path) else value
            settings.append(f"{key}={json.dumps(plain, ensure_ascii=False, allow_nan=False)}")
        except (TypeError, ValueError) as error:
            raise ConfigError(f"override {key!r}: {value!r} is nothing that a config can hold: {error}") from error
    return settings
