"""The `rlsys` command as a user runs it, the folder it leaves, and the processes it starts."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from rlsys.check.recipe import load_stage
from rlsys.config.document import save
from rlsys.run.folder import RunDir
from rlsys.run.ledger import Ledger
from rlsys.run.metrics import MetricsLog
from rlsys.samples import Sample

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(sys.executable).parent
CONFIGS = ROOT / "configs"
LIMIT = 480.0
"""Seconds for one command."""
MEASURED_TIME = ("time", "time/", "rollout/tokens_per_second")
"""Metrics that tell how long something took: no two runs agree on those."""


@dataclass(frozen=True)
class Workplace:
    """A folder to start commands in, and their environment. Nothing of another Ray cluster on this machine is seen from
    here."""

    folder: Path
    environment: dict[str, str]

    @classmethod
    def make(cls, folder: Path, ray_folder: Path) -> Workplace:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        path = f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}"
        return cls(
            folder, inherited | {"PATH": path, "RAY_TMPDIR": str(ray_folder), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        )

    def running(self) -> list[str]:
        """Titles of the processes that inherited this environment. Those that rename themselves, as Ray's workers do,
        are not found this way."""
        mine = self.environment["RAY_TMPDIR"]
        return [title(process) for process in psutil.process_iter() if variable(process, "RAY_TMPDIR") == mine]

    def start(self, *command: str | Path) -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([str(part) for part in command], cwd=self.folder, env=self.environment, **pipes)

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Whatever the exit code."""
        process = self.start(*command)
        try:
            out, err = process.communicate(timeout=LIMIT)
        finally:
            process.kill()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def succeed(self, *command: str | Path) -> str:
        """What a command that works printed."""
        done = self.run(*command)
        assert done.returncode == 0, f"{' '.join(done.args)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def stage(self, recipe: str, name: str) -> Path:
        """One stage of a shipped recipe as the config of an experiment, in this folder, from an untrained model."""
        file = self.folder / f"{name}.yaml"
        save(load_stage(CONFIGS / recipe, name, ["model.path=playground:0.5m"], this_machine=False), file)
        return file

    def train(self, config: Path, name: str, settings: Sequence[str]) -> Run:
        """A run that works, in this folder."""
        self.succeed("rlsys", "train", config, f"name={name}", f"output={self.folder}", *settings)
        return Run(self.folder / name)


@dataclass(frozen=True)
class Run:
    """What a run left."""

    path: Path

    @property
    def folder(self) -> RunDir:
        return RunDir(self.path)

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads(self.folder.summary.read_text())

    @property
    def metrics(self) -> list[dict[str, Any]]:
        return MetricsLog.read(self.folder.metrics)

    def steps_done(self) -> int:
        """The last step in the metrics, -1 before there is any."""
        return self.metrics[-1]["step"] if self.folder.metrics.exists() and self.metrics else -1

    def faults(self) -> int:
        """How many its ledger tells of."""
        return self.query("SELECT count(*) FROM faults")[0][0] if self.folder.ledger.exists() else 0

    @property
    def results(self) -> list[dict[str, Any]]:
        """All metrics that a repetition of the run must give again."""
        return [
            {name: value for name, value in record.items() if not name.startswith(MEASURED_TIME)}
            for record in self.metrics
        ]

    def samples(self, step: int, phase: str | None = None) -> list[Sample]:
        ledger = Ledger(self.folder.ledger, read_only=True)
        try:
            return ledger.samples(step, phase)
        finally:
            ledger.close()

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """As any SQLite tool sees the ledger."""
        database = sqlite3.connect(f"{self.folder.ledger.as_uri()}?mode=ro", uri=True)
        try:
            return database.execute(sql).fetchall()
        finally:
            database.close()


def wait_until(condition: Callable[[], bool], what: str, timeout: float, poll: float = 0.005) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout:g} s for {what}"
        time.sleep(poll)


def family(pid: int) -> list[psutil.Process]:
    """A process and all that it started, directly or not."""
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def alive(processes: Sequence[psutil.Process]) -> list[str]:
    """Those that still run: name and command of each. A zombie runs no more."""
    found = []
    for process in processes:
        try:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(title(process))
        except psutil.NoSuchProcess:
            continue
    return found


def title(process: psutil.Process) -> str:
    """What `ps` shows; empty if it has gone."""
    try:
        return " ".join(process.cmdline())[:200]
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def variable(process: psutil.Process, name: str) -> str | None:
    """What the process started with; None if it has gone."""
    try:
        return process.environ().get(name)
    except psutil.Error:
        return None
