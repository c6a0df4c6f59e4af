"""The run's numbers: one JSON line a record in `metrics.jsonl`, and Weights & Biases if it is asked for."""

from __future__ import annotations

import json
import logging
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import yaml

from rlsys.config.experiment import LoggingConfig
from rlsys.errors import RlsysError, RunError
from rlsys.files import read_lines, to_json, write_whole
from rlsys.run.folder import RunDir

RESERVED = {"step", "time"}
log = logging.getLogger(__name__)


class MetricsLog:
    """Appends to `run.metrics`; also sends to W&B unless `config.wandb` is off (offline keeps its files in the run's
    folder).

    Opening a metrics file whose last line was torn by a kill drops that line. Raises RlsysError if W&B can't be
    started. If W&B fails later, one error is logged and the run goes on: the file has every number.
    """

    def __init__(self, run: RunDir, config: LoggingConfig) -> None:
        self.path = run.metrics
        _drop_torn_line(self.path)
        self._wandb = None if config.wandb == "off" else _start_wandb(run, config.wandb, config.wandb_project)

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(failed=error is not None)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Append one line: step, time (seconds since 1970) and `values`. What is not a finite number is written as
        null."""
        assert not RESERVED & values.keys(), f"metrics may not be named {' or '.join(sorted(RESERVED))}"
        line = to_json({"step": step, "time": round(time.time(), 3), **values}) + "\n"
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line)
        if self._wandb is not None:
            import wandb

            try:
                self._wandb.log(dict(values), step=step)
            except (wandb.Error, OSError) as error:
                log.error(
                    "W&B stopped taking metrics at step %d (%s); the run goes on and %s has them all",
                    step,
                    error,
                    self.path,
                )
                self._wandb = None

    def truncate_after(self, step: int) -> None:
        """Drop the lines of later steps: a run that goes on from `step` writes them anew."""
        if self.path.exists():
            lines = list(read_lines(self.path))
            write_whole(self.path, "".join(line for line in lines if json.loads(line)["step"] <= step))

    def close(self, failed: bool = False) -> None:
        """Finish the W&B run and tell it whether ours failed."""
        if self._wandb is not None:
            self._wandb.finish(exit_code=int(failed))
            self._wandb = None

    @staticmethod
    def read(path: Path) -> list[dict[str, Any]]:
        """All records, in order; null comes back as None. A last line that is still being written is left out.

        Raises RunError that names the line if another one is damaged.
        """
        records = []
        for number, line in enumerate(read_lines(path), start=1):
            if not line.endswith("\n"):
                break
            try:
                records.append(json.loads(line))
            except ValueError as error:
                raise RunError(f"{path}:{number}: not a JSON record: {error}") from error
        return records


def _drop_torn_line(path: Path) -> None:
    if path.exists():
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)


def _start_wandb(run: RunDir, mode: Literal["offline", "online"], project: str) -> Any:
    import wandb

    # The same id after a resume, so that W&B continues the run. Steps that it has already are the same numbers, and it
    # keeps the first.
    identity = run.path / ".wandb-id"
    if not identity.exists():
        write_whole(identity, secrets.token_hex(8))
    try:
        return wandb.init(
            mode=mode,
            project=project,
            name=run.name,
            id=identity.read_text(encoding="utf-8"),
            resume="allow",
            dir=run.path,
            config=yaml.safe_load(run.config.read_text(encoding="utf-8")),
            settings=wandb.Settings(silent=True, console="off", init_timeout=60, login_timeout=30),
        )
    except (wandb.Error, OSError) as error:
        reason = " ".join(str(error).split())
        raise RlsysError(
            f"W&B can't be started: {reason}; log in with `wandb login`, or set logging.wandb=offline or off"
        ) from error
