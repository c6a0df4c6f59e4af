"""Fixtures that many tests share, and the suite's own limit of time."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("any machine", deadline=None)  # how long an example takes depends on what else runs
settings.load_profile("any machine")

BUDGET = "RLSYS_TEST_MINUTES"
"""Environment variable with the minutes that the whole session may take; `make test` sets it."""
SLOWEST = 10
IDLE_LOAD = 1.0
"""Processes that wait for a core, mean of the last minute, up to which the machine counts as idle."""


class Budget:
    """Names the slowest tests of a session that took too long, and fails it if the machine had nothing else to do."""

    def __init__(self, minutes: float) -> None:
        self.minutes = minutes
        self.idle = os.getloadavg()[0] <= IDLE_LOAD
        self.started = time.monotonic()
        self.seconds: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration

    @property
    def taken(self) -> float:
        """Minutes."""
        return (time.monotonic() - self.started) / 60

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.taken > self.minutes and self.idle and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.taken <= self.minutes:
            return
        why = "" if self.idle else "; that is no failure, as the machine was busy when they began"
        terminalreporter.write_line(
            f"the tests took {self.taken:.1f} minutes, and {BUDGET} allows {self.minutes:g}{why}. The slowest:"
        )
        for test, seconds in sorted(self.seconds.items(), key=lambda item: -item[1])[:SLOWEST]:
            terminalreporter.write_line(f"  {seconds:6.1f} s  {test}")


def pytest_configure(config: pytest.Config) -> None:
    if BUDGET in os.environ and not hasattr(config, "workerinput"):  # a worker of xdist is no session of its own
        config.pluginmanager.register(Budget(float(os.environ[BUDGET])))


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One local Ray for all tests that need one. Its CPUs are a count for placement, more than the machine may have:
    engines of the whole session, those of a module and those of a test hold some at the same time."""
    import ray  # the tests of the library do without

    ray.init(num_cpus=32, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made with `asyncio.sleep`, in seconds; each lasts no time here."""
    made: list[float] = []

    async def pause(seconds: float) -> None:
        made.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", pause)
    return made
