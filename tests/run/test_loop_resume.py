from __future__ import annotations

import json
import shutil
from pathlib import Path

from support.looping import logits, run_killed_in, running

from rlsys.run.folder import RunDir
from rlsys.run.metrics import MetricsLog


def test_a_resumed_run_is_the_run_it_would_have_been(tmp_path: Path):
    with running(RunDir.create(tmp_path, "whole"), 8) as whole:
        whole.run()
    broken = RunDir.create(tmp_path, "broken")
    with running(broken, 8, checkpoint_every=3) as loop:
        run_killed_in(loop, 6)
    with running(broken, 8) as resumed:
        resumed.restore(resumed.checkpoints.latest())
        assert resumed.state.step == 3
        resumed.run()
    assert logits(resumed) == logits(whole)
    kept = ("step", "reward/mean", "train/loss", "train/grad_norm", "train/entropy", "eval/accuracy_sampled")
    lines = [
        [{key: line.get(key) for key in kept} for line in MetricsLog.read(run.run_dir.metrics)]
        for run in (whole, resumed)
    ]
    assert lines[0] == lines[1]


def test_a_run_without_a_checkpoint_resumes_from_its_start(tmp_path: Path):
    run_dir = RunDir.create(tmp_path, "a")
    with running(run_dir, 5) as loop:
        loop.run()
        expected = logits(loop)
    shutil.rmtree(run_dir.checkpoints)
    with running(run_dir, 5) as again:
        again.restore(None)
        again.run()
    assert logits(again) == expected
    assert [line["step"] for line in MetricsLog.read(run_dir.metrics)] == list(range(6))


def test_checkpoint_holds_the_loops_state(tmp_path: Path):
    with running(RunDir.create(tmp_path, "a"), 3) as loop:
        loop.run()
    latest = loop.checkpoints.latest()
    assert latest is not None
    saved = json.loads((latest / "loop.json").read_text())
    assert saved["state"]["step"] == 3
    assert saved["source"]["epoch"] == 1  # 12 prompts of an epoch of 10
    assert saved["source"]["position"] == 2
