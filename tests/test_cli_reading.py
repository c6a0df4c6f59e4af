"""The commands that read what runs wrote, as a user types them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.written_run import write_run, write_story
from typer.testing import CliRunner

from rlsys.cli import app
from rlsys.cli.runs import tell_of_report


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for seed in (0, 1):
        write_story(write_run(tmp_path / f"seed-{seed}", [0.25, 0.5 + seed / 4], f"seed={seed}"))
    return tmp_path


def said(*arguments: str | Path) -> str:
    done = CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    return done.output


def test_list(runs: Path):
    lines = [line for line in said("list", runs).splitlines() if "seed-" in line]
    assert [re.split(r"\s*│\s*", line)[1:6] for line in lines] == [
        [f"seed-{seed}", "grpo", "finished", "2 of 2", "held-out accuracy, sampled 0.250 -> 0.750"] for seed in (0, 1)
    ]


def test_compare(runs: Path):
    told = said("compare", runs / "seed-0", runs / "seed-1", "--html", runs / "both.html")
    assert re.search(r"│ seed\s+│ 0\s+│ 1\s+│", told)
    assert re.search(r"│ reward/mean\s+│ 0.625 ± 0.18\s+│ 0.5\s+│ 0.75\s+│", told)
    assert (runs / "both.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_report(runs: Path):
    told = said("report", runs / "seed-0")
    assert "| held-out accuracy, sampled | 0.250 -> 0.750 |" in told
    assert told.endswith(f"report: {runs / 'seed-0' / 'report.html'}\n")
    assert (runs / "seed-0" / "report.html").exists()


def test_a_report_that_can_not_be_written_keeps_nobody_from_the_model(runs: Path, capsys: pytest.CaptureFixture[str]):
    tell_of_report(runs / "seed-0")
    assert capsys.readouterr().out == f"report: {runs / 'seed-0' / 'report.html'}\n"
    (runs / "seed-0" / "report.html").unlink()
    (runs / "seed-0" / "report.html").mkdir()
    tell_of_report(runs / "seed-0")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("warning: ")
    assert err.endswith(f"the report can't be written: Is a directory; `rlsys report {runs / 'seed-0'}`\n")
