"""`python -m benchmarks`: run the benchmarks one after the other, print the table, save it as JSON."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.child import GRACE, REPOSITORY, last_line
from benchmarks.command import Quick, run_command
from benchmarks.result import Result
from benchmarks.table import table

BENCHMARKS = {
    "rollout": ("0.5m", "25m"),
    "trainer": ("0.5m", "25m"),
    "sync": ("0.5m", "25m"),
    "adapter_sync": ("25m",),
    "adapter": ("25m",),
    "overhead": ("0.5m",),
    "startup": ("0.5m",),
    "curation": ("0.5m",),
}
"""Each one's file in this folder, and the model sizes it runs at; curation has no model."""
LIMIT = 240.0
"""Longest time (seconds) of one benchmark at one size."""
RESULTS = REPOSITORY / "benchmarks" / "results"


def main(
    only: Annotated[list[str] | None, typer.Option(help="Run this one; may be given several times.")] = None,
    size: Annotated[list[str] | None, typer.Option(help="Run at this model size; may be given several times.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Pairs of measurements; of start-up at most 3.")] = 5,
    results: Annotated[Path, typer.Option(help="Folder of the JSON files.")] = RESULTS,
    quick: Quick = False,
) -> None:
    """Our side against what could be had without us. Exit code 1 if a benchmark failed; a missed aim is no failure."""
    chosen = [
        (name, own) for name, sizes in BENCHMARKS.items() for own in sizes if _wanted(name, only) and _wanted(own, size)
    ]
    if not chosen:
        raise typer.BadParameter("; ".join(f"{name} runs at {', '.join(sizes)}" for name, sizes in BENCHMARKS.items()))
    console = Console()
    done: list[Result] = []
    failures: dict[str, str] = {}
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="rlsys-benchmarks-"))
    try:
        for name, own in chosen:
            console.print(f"{name} at {own} ...")
            try:
                done += run_one(name, own, repeats, folder, quick)
            except BenchmarkFailed as error:
                failures[f"{name} at {own}"] = str(error)
    finally:
        if not failures:
            shutil.rmtree(folder, ignore_errors=True)
    if done:
        console.print(table(done))
    for failed, reason in failures.items():
        console.print(f"{failed}: failed: {reason}", soft_wrap=True, markup=False, highlight=False)
    seconds = time.monotonic() - started
    file = save(results, done, failures, {"repeats": repeats, "quick": quick, "seconds": round(seconds, 1)})
    console.print(f"{seconds:.0f} s in all; saved as {file}", soft_wrap=True)
    if failures:
        console.print(f"what the failed ones wrote is in {folder}", soft_wrap=True)
        raise typer.Exit(1)


class BenchmarkFailed(Exception):
    """A benchmark that gave no result."""


def run_one(name: str, size: str, repeats: int, folder: Path, quick: bool) -> list[Result]:
    """In a process of its own: a crash or a hang takes nothing else with it. Raises BenchmarkFailed with the last line
    of its log, which stays in `folder`."""
    output, log = folder / f"{name}-{size}.json", folder / f"{name}-{size}.log"
    told = (name, size, str(repeats), "quick" if quick else "full", str(folder), str(output))
    with log.open("w", encoding="utf-8") as lines:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", *told],
            stdout=subprocess.DEVNULL,
            stderr=lines,
            start_new_session=True,
            cwd=REPOSITORY,
        )
    try:
        process.wait(LIMIT)
    except subprocess.TimeoutExpired as error:
        raise BenchmarkFailed(f"was not done after {LIMIT:g} s: {last_line(log)}") from error
    finally:
        _end(process)
    if process.returncode:
        raise BenchmarkFailed(last_line(log))
    return [Result.restore(record) for record in json.loads(output.read_text())]


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stop the benchmark, if it still runs, and all that it started."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def save(folder: Path, done: list[Result], failures: dict[str, str], about: dict[str, Any]) -> Path:
    """One file per call, named by its time; `about` says how it was made."""
    from benchmarks.machine import describe

    now = datetime.now(UTC)
    content: dict[str, Any] = {
        "time": now.isoformat(timespec="seconds"),
        **about,
        "machine": describe(),
        "results": [result.record() for result in done],
        "failures": failures,
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{now:%Y-%m-%dT%H-%M-%S}.json"
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return file


def _wanted(name: str, chosen: list[str] | None) -> bool:
    return not chosen or name in chosen


if __name__ == "__main__":
    run_command(main)
