"""The command: what it runs, prints, saves and answers with. Nothing is measured here."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from benchmarks import __main__ as command
from benchmarks.child import child
from benchmarks.result import Aim, Result
from rlsys.errors import RlsysError

REASON = f"vLLM: the engine died because [something] {'very long ' * 20}was given"
app = typer.Typer()
app.command()(command.main)


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, str, int]]:
    """Every benchmark answers at once with a missed aim, but for `sync`, which fails; returns what was run."""
    calls: list[tuple[str, str, int]] = []

    def run_one(name: str, size: str, repeats: int, folder: Path, quick: bool) -> list[Result]:
        calls.append((name, size, repeats))
        if name == "sync":
            raise command.BenchmarkFailed(REASON)
        return [Result(name, size, "ours / theirs", "s", (1.0,), (2.0,), Aim(0.9, more_is_better=True))]

    monkeypatch.setattr(command, "run_one", run_one)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # logs of what failed stay
    return calls


def test_a_failure_hides_no_other_result_and_is_the_exit_code(
    called: list[tuple[str, str, int]], tmp_path: Path
) -> None:
    outcome = CliRunner().invoke(app, ["--size", "0.5m", "--results", str(tmp_path)], env={"COLUMNS": "110"})
    assert outcome.exit_code == 1
    assert [name for name, _, _ in called] == ["rollout", "trainer", "sync", "overhead", "startup", "curation"]
    (file,) = tmp_path.glob("*.json")
    saved = json.loads(file.read_text())
    assert [result["benchmark"] for result in saved["results"]] == [
        "rollout",
        "trainer",
        "overhead",
        "startup",
        "curation",
    ]
    assert saved["failures"] == {"sync at 0.5m": REASON}
    assert f"sync at 0.5m: failed: {REASON}" in outcome.output.splitlines(), "one line, however narrow the terminal"
    assert outcome.output.count("missed") == 5


def test_a_failed_benchmark_gives_the_last_line_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(command.BenchmarkFailed) as failure:
        command.run_one("nothing", "0.5m", 1, tmp_path, quick=True)
    assert str(failure.value) == "ModuleNotFoundError: No module named 'benchmarks.nothing'"
    assert "Traceback" in (tmp_path / "nothing-0.5m.log").read_text()


def test_a_baseline_that_ends_says_why(tmp_path: Path) -> None:
    with child("benchmarks.bare_trainer", {}, tmp_path / "log") as bare, pytest.raises(RlsysError) as failure:
        bare.ask(nonsense=1)
    last = "ValueError: no such request: ['nonsense']"
    assert str(failure.value) == f"benchmarks.bare_trainer has ended without an answer: {last}"


def test_a_missed_aim_is_no_failure(called: list[tuple[str, str, int]], tmp_path: Path) -> None:
    chosen = ["--only", "trainer", "--size", "25m", "--repeats", "7", "--results", str(tmp_path)]
    assert CliRunner().invoke(app, chosen).exit_code == 0
    assert called == [("trainer", "25m", 7)]


def test_an_unknown_name_runs_nothing_and_lists_what_there_is(
    called: list[tuple[str, str, int]], tmp_path: Path
) -> None:
    outcome = CliRunner().invoke(app, ["--only", "rollouts", "--results", str(tmp_path)], env={"COLUMNS": "300"})
    assert outcome.exit_code == 2
    assert "rollout runs at 0.5m, 25m" in outcome.output
    assert called == []
