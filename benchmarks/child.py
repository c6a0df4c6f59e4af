"""A baseline in a plain process of its own: one JSON line in, one JSON line out."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rlsys.errors import RlsysError

TIMEOUT = 300.0
"""Longest wait (seconds) for one answer."""
RAY_NICENESS = 15
"""What Ray gives its workers, so that a process that competes with both sides holds up neither more than the other."""
REPOSITORY = Path(__file__).parent.parent
GRACE = 10.0
"""Seconds that a process has to end once it is to end."""


class Child:
    """The module `name` as a process, with `environment` added to ours. Its standard error goes to `log`."""

    def __init__(self, name: str, environment: Mapping[str, str], log: Path) -> None:
        self.name, self.log = name, log
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **environment},
                cwd=REPOSITORY,
            )

    def ask(self, **message: Any) -> dict[str, Any]:
        """Send a message and wait for its answer. Raises RlsysError when the process ends or is silent for `TIMEOUT`
        seconds."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise self._ended() from error
        deadline = time.monotonic() + TIMEOUT
        line = b""
        while not line.endswith(b"\n"):
            if not select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise RlsysError(f"waited {TIMEOUT:g} s for {self.name} to answer: {last_line(self.log)}")
            part = os.read(self.process.stdout.fileno(), 1 << 16)
            if not part:
                raise self._ended()
            line += part
        return json.loads(line)

    def _ended(self) -> RlsysError:
        """With what the process said last, which it says before it ends and after it has closed its pipe."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(GRACE)
        return RlsysError(f"{self.name} has ended without an answer: {last_line(self.log)}")

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def child(name: str, environment: Mapping[str, str], log: Path) -> Iterator[Child]:
    """A `Child` that ends with the block."""
    process = Child(name, environment, log)
    try:
        yield process
    finally:
        process.close()


def last_line(log: Path) -> str:
    """Of what a process wrote to its log, blank lines aside."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else f"it wrote nothing to {log}"


def serve(answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """The process's own side: answer every line, until there are no more. What libraries print goes to standard
    error."""
    os.nice(max(0, RAY_NICENESS - os.nice(0)))
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)
        for line in sys.stdin:
            out.write(json.dumps(answer(json.loads(line))) + "\n")
            out.flush()
