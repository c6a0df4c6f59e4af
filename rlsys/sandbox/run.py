"""Runs Python programs against tests, in processes that can harm nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from rlsys.workers.pool import CallFailed, StartFailed, Worker, WorkerPool

SLACK = 2.0
"""Seconds beyond a program's time limit in which its sandbox must have answered."""


@dataclass(frozen=True)
class Limits:
    """Of one program."""

    seconds: float = 10.0
    """From its start to the end of its last test."""
    memory_mib: int = 512
    """Address space."""


@dataclass(frozen=True)
class Outcome:
    """What the tests said. `problem` is what the first one failed by, empty where all passed."""

    passed: tuple[bool, ...]
    problem: str


class SandboxUnavailable(Exception):
    """Programs can't be kept apart from this machine; what is missing, in one line."""


class Sandbox:
    """`processes` programs are run at the same time, each in a process of its own; further ones wait. May be used by
    many threads."""

    def __init__(self, processes: int = 1, limits: Limits | None = None) -> None:
        """Raises SandboxUnavailable. There is no weaker way to run programs."""
        limits = limits or Limits()
        arguments = (str(limits.seconds), str(limits.memory_mib))
        environment = {"PYTHONHASHSEED": "0"}  # and nothing of this process's: a program could read it
        worker = Worker("rlsys.sandbox.server", limits.seconds + SLACK, arguments, None, environment)
        self._pool = WorkerPool(worker, processes)
        try:
            self._pool.wait_until_ready()
        except StartFailed as error:
            self._pool.close()
            raise SandboxUnavailable(str(error).removeprefix("NotConfined: ")) from error

    def run(self, source: str, tests: Sequence[str]) -> Outcome:
        """Run a program, then each test in its namespace, one after the other. A test passes if it raises nothing.
        Whatever the program does, its tests have an outcome; raises CallFailed where the sandbox itself failed."""
        assert tests, "a program without tests has no outcome"
        answer = self._pool.call({"source": source, "tests": list(tests)})
        return Outcome(tuple(answer["passed"]), answer["problem"])

    def close(self) -> None:
        self._pool.close()


@cache
def sandbox_problem() -> str | None:
    """Why programs can't be run on this machine; None where they can. Starts a sandbox and tries to get out."""
    try:
        Sandbox().close()
    except SandboxUnavailable as error:
        return str(error)
    return None


__all__ = ["CallFailed", "Limits", "Outcome", "Sandbox", "SandboxUnavailable", "sandbox_problem"]
