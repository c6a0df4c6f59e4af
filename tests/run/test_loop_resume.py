from __future__ import annotations

import json
import shlex
import shutil
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support.fakes import SoftmaxPolicy
from support.looping import logits, run_killed_in, running

from rlsys.errors import RunError
from rlsys.objectives.stats import Mean
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


def test_a_run_that_is_asked_to_stop_commits_its_step_and_goes_on_as_the_run_it_would_have_been(tmp_path: Path):
    with running(RunDir.create(tmp_path, "whole"), 6) as whole:
        whole.run()
    run_dir = RunDir.create(tmp_path, "asked")
    with running(run_dir, 6, checkpoint_every=100) as loop, loop.stopping.listening(grace=60):
        collect = loop.method.collect

        def asked(roles: Any, source: Any, step: Any) -> Any:
            if step.number == 4:
                signal.raise_signal(signal.SIGTERM)
            return collect(roles, source, step)

        object.__setattr__(loop.method, "collect", asked)
        with pytest.raises(KeyboardInterrupt):
            loop.run()
    assert loop.checkpoints.steps() == [4]
    with running(run_dir, 6) as resumed:
        resumed.restore(resumed.checkpoints.latest())
        resumed.run()
    assert logits(resumed) == logits(whole)


@pytest.mark.parametrize("second", [True, False])
def test_a_second_sigterm_and_the_end_of_the_grace_break_the_step_off(tmp_path: Path, second: bool):
    with ExitStack() as stack:
        loop = stack.enter_context(running(RunDir.create(tmp_path, "a"), 6, checkpoint_every=1))
        stack.enter_context(loop.stopping.listening(grace=60 if second else 0.2))

        def hangs(roles: Any, source: Any, step: Any) -> Any:
            signal.raise_signal(signal.SIGTERM)
            if second:
                signal.raise_signal(signal.SIGTERM)
            signal.pause()

        object.__setattr__(loop.method, "collect", hangs)
        with pytest.raises(KeyboardInterrupt):
            loop.run()
    assert loop.checkpoints.steps() == []
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_skipped_updates_are_counted_and_the_third_step_in_a_row_ends_the_run_with_the_way_on(tmp_path: Path):
    with running(RunDir.create(tmp_path, "my run"), 12, checkpoint_every=4) as loop:
        policy = loop.roles.policy
        assert isinstance(policy, SoftmaxPolicy)
        step, skipped = policy.optimizer_step, iter([0, 1, 1, 0, 1, 0, 1, 1, 1])
        policy.optimizer_step = lambda scale=1.0: step(scale) | {"updates_skipped": Mean(next(skipped), 1)}
        with pytest.raises(RunError, match="step 9: the third step in a row whose gradient is not finite") as caught:
            loop.run()
    command = str(caught.value).split("`")[1]
    assert shlex.split(command) == ["rlsys", "resume", str(loop.run_dir.path)]
    assert loop.checkpoints.steps() == [4, 8]
    assert loop.state.skipped == 6
    assert [note.split(":")[0] for note in loop.state.notes] == [f"step {n}" for n in (2, 3, 5, 7, 8, 9)]
