from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.written_run import write_run

from rlsys.errors import RunError
from rlsys.run.record import Record


def test_a_finished_run(tmp_path: Path):
    record = Record.read(write_run(tmp_path / "run", [0.25, 0.5]))
    assert (record.method, record.step, record.steps, record.standing) == ("grpo", 2, 2, "finished")


def test_a_run_under_way_is_running_and_one_whose_driver_is_gone_is_stopped(tmp_path: Path):
    run = write_run(tmp_path / "run", [0.25, 0.5])
    run.summary.unlink()
    with run.lock():
        assert Record.read(run).standing == "running"
    assert Record.read(run).standing == "stopped"
    (run.path / ".lock").write_text("process 1 on elsewhere\n")  # what a killed driver leaves
    assert Record.read(run).standing == "stopped"
    with run.lock():  # and looking at it kept nobody from it
        pass


def test_an_error_that_comes_last_is_a_failure_and_one_that_was_survived_is_none(tmp_path: Path):
    run = write_run(tmp_path / "run", [0.25])
    run.error_log.write_text("ActorDied: it died\n")
    for error, last, standing in ((10, 20, "finished"), (20, 10, "failed")):
        os.utime(run.error_log, (error, error))
        os.utime(run.summary, (last, last))
        assert Record.read(run).standing == standing
    run.summary.unlink()
    for error, last, standing in ((10, 20, "stopped"), (20, 10, "failed")):
        os.utime(run.error_log, (error, error))
        os.utime(run.metrics, (last, last))
        assert Record.read(run).standing == standing


def test_how_many_steps_epochs_are_is_not_known_before_the_end(tmp_path: Path):
    run = write_run(tmp_path / "run", [0.25], "loop.steps=null", "loop.epochs=2")
    assert Record.read(run).steps == 1
    run.summary.unlink()
    assert Record.read(run).steps is None


def test_a_damaged_summary_is_one_line(tmp_path: Path):
    run = write_run(tmp_path / "run", [0.25])
    run.summary.write_text("{")
    with pytest.raises(RunError, match=r"summary\.json: not JSON: .*; put it aside"):
        Record.read(run)
