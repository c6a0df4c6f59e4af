"""What a run has written down so far, for whoever reads it: its config, summary and metrics, and how it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rlsys.config import yaml_file
from rlsys.run.folder import RunDir, saved_method
from rlsys.run.metrics import MetricsLog

Standing = Literal["finished", "running", "failed", "stopped"]


@dataclass(frozen=True)
class Record:
    run: RunDir
    config: Mapping[str, Any]
    """The resolved one, as plain data."""
    summary: Mapping[str, Any] | None
    """None until the run is finished."""
    metrics: Sequence[Mapping[str, Any]]
    """One record for each step, in order."""

    @classmethod
    def read(cls, run: RunDir) -> Record:
        """Raises RunError that names a damaged file, ConfigError for a config that is not YAML."""
        config, _ = yaml_file.read(run.config)
        summary = run.read_summary() if run.summary.exists() else None
        return cls(run, config, summary, MetricsLog.read(run.metrics) if run.metrics.exists() else [])

    @property
    def method(self) -> str:
        """Raises RunError if the config names none."""
        return saved_method(self.config, self.run.config)

    @property
    def step(self) -> int:
        """The last one that is complete."""
        return self.metrics[-1]["step"] if self.metrics else 0

    @property
    def steps(self) -> int | None:
        """How many there are to be; None where the config counts epochs and the run is not finished."""
        if self.summary is not None:
            return self.summary["steps"]
        return (self.config.get("loop") or {}).get("steps")

    @property
    def standing(self) -> Standing:
        """A run is failed if an error is the last thing that it wrote: one that it survived is followed by metrics, or
        by a summary."""
        if self.summary is None and self.run.is_locked():
            return "running"
        written = self.run.metrics if self.summary is None else self.run.summary
        error = self.run.error_log
        if error.exists() and (not written.exists() or error.stat().st_mtime > written.stat().st_mtime):
            return "failed"
        return "stopped" if self.summary is None else "finished"
