"""The run's numbers: one JSON line a record in `metrics.jsonl`, and Weights & Biases if it is asked for."""

from __future__ import annotations

import json
import logging
import os
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import yaml

from rlsys.config.experiment import LoggingConfig
from rlsys.errors import RlsysError, RunError, command
from rlsys.files import read_lines, to_json, write_whole
from rlsys.run.folder import RunDir

MOST_UNWRITTEN = 10_000
"""Lines that a full disk may keep waiting; then the run ends."""
RESERVED = {"step", "time"}
WANDB_PATIENCE = 2.0
"""Seconds for W&B to log in, and to begin; then its files stay here."""
log = logging.getLogger(__name__)


class MetricsLog:
    """Appends to `run.metrics`; also sends to W&B unless `config.wandb` is off (offline keeps its files in the run's
    folder).

    Opening a metrics file whose last line was torn by a kill drops that line. Raises RlsysError if W&B refuses what it
    is asked for; one that does not answer within seconds is used offline. If W&B fails later, one error is logged and
    the run goes on: the file has every number.
    """

    def __init__(self, run: RunDir, config: LoggingConfig) -> None:
        self.path = run.metrics
        _drop_torn_line(self.path)
        self._unwritten: list[str] = []
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
        self._unwritten.append(line)
        self._write()
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

    def _write(self) -> None:
        """What waits to be written, or nothing of it: on a full disk it waits for the next line."""
        size = self.path.stat().st_size if self.path.exists() else 0
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(self._unwritten)
        except OSError as error:
            with suppress(OSError):
                os.truncate(self.path, size)
            if len(self._unwritten) in (1, 100, MOST_UNWRITTEN):
                log.warning(
                    "%s: can't be written (%s); %d lines wait for room, and the run goes on",
                    self.path,
                    error.strerror,
                    len(self._unwritten),
                )
            if len(self._unwritten) >= MOST_UNWRITTEN:
                raise RunError(f"{self.path}: {len(self._unwritten)} lines wait to be written: {error}") from error
        else:
            self._unwritten.clear()

    def truncate_after(self, step: int) -> None:
        """Drop the lines of later steps: a run that goes on from `step` writes them anew. Raises RunError that names a
        damaged line."""
        if self.path.exists():
            records = self.read(self.path)
            lines = zip(read_lines(self.path), records, strict=False)
            write_whole(self.path, "".join(line for line, record in lines if record["step"] <= step))

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
                raise RunError(
                    f"{path}:{number}: not a JSON record: {error}; delete the line to go on without it: "
                    "checkpoints and ledger do not need it"
                ) from error
        return records


def _drop_torn_line(path: Path) -> None:
    if path.exists():
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)


def _start_wandb(run: RunDir, mode: Literal["offline", "online"], project: str) -> Any:
    import wandb
    from wandb.errors import CommError

    # The same id after a resume, so that W&B continues the run. Steps that it has already are the same numbers, and it
    # keeps the first.
    identity = run.path / ".wandb-id"
    if not identity.exists():
        write_whole(identity, secrets.token_hex(8))
    own = {
        "project": project,
        "name": run.name,
        "id": identity.read_text(encoding="utf-8"),
        "resume": "allow",
        "dir": run.path,
        "config": yaml.safe_load(run.config.read_text(encoding="utf-8")),
        "settings": wandb.Settings(
            silent=True, console="off", init_timeout=WANDB_PATIENCE, login_timeout=int(WANDB_PATIENCE)
        ),
    }
    try:
        return wandb.init(mode=mode, **own)
    except (CommError, OSError) as error:
        log.warning(
            "W&B does not answer (%s); the run goes on, and W&B's files are kept in %s: send them later: `%s`",
            " ".join(str(error).split())[:200],
            run.path / "wandb",
            command("wandb", "sync", run.path / "wandb"),
        )
        wandb.teardown()  # else the run's id is still taken by the attempt
        return wandb.init(mode="offline", **own)
    except wandb.Error as error:
        reason = " ".join(str(error).split())
        raise RlsysError(
            f"W&B can't be started: {reason}; log in with `wandb login`, or set logging.wandb=offline or off"
        ) from error
