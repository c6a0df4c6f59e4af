"""The benchmark of curation as small as it gets: it starts no engine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.child import REPOSITORY
from benchmarks.curation import run
from benchmarks.workload import Settings


def nothing_starts(*_: object) -> None:
    raise AssertionError("actors were started")


def test_curation(tmp_path: Path):
    """The benchmark itself fails unless just the duplicates are found."""
    exact, near = run(Settings("0.5m", 1, tmp_path, quick=True), nothing_starts)  # type: ignore[arg-type]
    assert (exact.baseline, near.baseline) == ((20.0,), (2.0,))
    assert exact.ours[0] > near.ours[0] > 0
    assert exact.details["bytes"] > 200_000
    assert exact.details["duplicates"] >= 1


def test_memory_is_told_by_itself():
    command = [sys.executable, "-m", "benchmarks.curation", "0.1", "near"]
    told = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=True).stdout
    assert told.startswith("near: 0.1 MB at ")
    assert " MiB in a worker" in told
