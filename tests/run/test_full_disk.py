"""A disk of two megabytes that is really full."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from support.fakes import SoftmaxPolicy
from support.looping import logits, running

from rlsys.config.experiment import LoggingConfig
from rlsys.errors import RunError
from rlsys.run.folder import RunDir
from rlsys.run.ledger import Ledger
from rlsys.run.metrics import MetricsLog
from rlsys.run.recovery import told_of_ledger


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "none", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk can't be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for size in (65536, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
    return ballast


def test_metrics_wait_for_room_and_none_is_lost(disk: Path, caplog: pytest.LogCaptureFixture):
    run = RunDir.create(disk, "a")
    with MetricsLog(run, LoggingConfig()) as metrics:
        metrics.log(1, {"loss": 1.0})
        ballast = fill(disk)
        for step in range(2, 300):  # more than the last page of the file takes
            metrics.log(step, {"loss": float(step)})
        assert "metrics.jsonl: can't be written (No space left on device); 1 lines wait for room" in caplog.text
        MetricsLog.read(run.metrics)
        ballast.unlink()
        metrics.log(300, {"loss": 300.0})
    assert [line["step"] for line in MetricsLog.read(run.metrics)] == list(range(1, 301))


def test_a_checkpoint_that_finds_no_room_costs_nothing_and_saving_resumes(
    disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with running(RunDir.create(tmp_path, "whole"), 6) as whole:
        whole.run()
    run = RunDir.create(tmp_path, "cramped")
    run.checkpoints.symlink_to(disk)
    with running(run, 6, checkpoint_every=1, keep_last=6) as loop:
        policy = loop.roles.policy
        assert isinstance(policy, SoftmaxPolicy)
        policy.save_state = lambda folder: (folder.mkdir(), (folder / "weights").write_bytes(b"\0" * 100_000))[0]
        log, ballast = loop.metrics.log, disk / "ballast"

        def meanwhile(step: int, values: Mapping[str, float]) -> None:
            log(step, values)
            if step == 2:
                fill(disk)
            if step == 4:
                ballast.unlink()

        loop.metrics.log = meanwhile
        loop.run()
    assert loop.checkpoints.steps() == [1, 4, 5, 6]
    assert [note.split(":")[0] for note in loop.state.notes] == ["step 2", "step 3"]
    assert "No space left on device" in capsys.readouterr().out
    assert logits(loop) == logits(whole)


def test_a_damaged_line_and_a_damaged_page_are_named_with_what_can_be_done(tmp_path: Path):
    run = RunDir.create(tmp_path, "my run")
    run.metrics.write_text('{"step": 1}\n{"st\0p": \n{"step": 3}\n')
    with (
        MetricsLog(run, LoggingConfig()) as metrics,
        pytest.raises(RunError, match=r"jsonl:2: not a JSON record.*delete"),
    ):
        metrics.truncate_after(3)
    Ledger(run.ledger).close()
    size = run.ledger.stat().st_size
    with run.ledger.open("r+b") as file:
        file.write(os.urandom(size))
    with pytest.raises(RunError, match=r"ledger\.sqlite: can't open the ledger: file is not a database"):
        Ledger(run.ledger)
    told = str(told_of_ledger(run, __import__("sqlite3").DatabaseError("database disk image is malformed")))
    aside, go_on = told.split("`")[1::2]
    assert shlex.split(aside) == ["mv", str(run.ledger), str(run.path / "ledger.damaged")]
    assert shlex.split(go_on) == ["rlsys", "resume", str(run.path)]
