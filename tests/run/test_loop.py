from __future__ import annotations

import io
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from support.fakes import make_roles
from support.looping import GRPO, SAMPLING, running

from rlsys.config.judge import JudgeConfig
from rlsys.methods import evaluate
from rlsys.methods.base import Experience, Learned, Step
from rlsys.methods.grpo import Method
from rlsys.roles import Roles
from rlsys.run.folder import RunDir
from rlsys.run.loop import ExperienceQueue, Loop
from rlsys.run.metrics import MetricsLog
from rlsys.run.summary import measured_rows
from rlsys.samples import ScoredGroup, Verdict


def sampled_rewards(loop: Loop, step: int) -> dict[str, float]:
    """Mean reward of each prompt's sampled held-out answers, with plain SQL."""
    database = sqlite3.connect(loop.run_dir.ledger)
    query = (
        "SELECT prompt_id, avg(reward) FROM samples WHERE step = ? AND phase = 'eval' "
        "AND sample_id LIKE 'eval-sampled-%' GROUP BY prompt_id"
    )
    found = dict(database.execute(query, (step,)).fetchall())
    database.close()
    return found


def test_the_win_rate_is_against_the_answers_of_step_0_also_after_a_resume(tmp_path: Path):
    run_dir = RunDir.create(tmp_path, "a")
    with running(run_dir, 6, eval_every=3, checkpoint_every=3) as loop:
        loop.run()
    shutil.rmtree(run_dir.checkpoints / "step-6")
    with running(run_dir, 6, eval_every=3) as resumed:
        resumed.restore(resumed.checkpoints.latest())
        assert resumed.state.step == 3
        state = resumed.run()
    start = sampled_rewards(loop, 0)
    lines = {line["step"]: line for line in MetricsLog.read(run_dir.metrics)}
    assert "eval/win_rate_sampled" not in lines[0]
    for step in (3, 6):
        now = sampled_rewards(loop, step)
        assert len(now) == len(start) == 10
        expected = (
            sum(1.0 if now[name] > start[name] else 0.5 if now[name] == start[name] else 0.0 for name in now) / 10
        )
        assert lines[step]["eval/win_rate_sampled"] == expected
    assert state.after["eval/win_rate_sampled"] == lines[6]["eval/win_rate_sampled"] > 0.5


def test_what_nothing_trains_is_measured_once_at_the_end(tmp_path: Path):
    roles = make_roles()
    assert roles.weight_sync is not None
    roles.weight_sync.sync(0)
    run_dir = RunDir.create(tmp_path, "a")
    measures = evaluate.Method(evaluate.Config(), SAMPLING, 0)
    with running(run_dir, 1, Roles(rollout=roles.rollout, reward=roles.reward), method=measures) as loop:
        state = loop.run()
    (line,) = MetricsLog.read(run_dir.metrics)
    assert state.before == {}
    assert (line["step"], line["eval/accuracy_sampled"]) == (1, state.after["eval/accuracy_sampled"])
    assert ("held-out accuracy, sampled", f"{state.after['eval/accuracy_sampled']:.3f}") in measured_rows(
        {"before": state.before, "after": state.after}
    )
    assert len(sampled_rewards(loop, 1)) == 10
    assert sampled_rewards(loop, 0) == {}


def with_canaries(right: int) -> Roles:
    """Every sample is judged next to a canary; of each prompt's four samples, the judge knows `right` canaries."""
    roles = make_roles(learning_rate=0.5)
    assert roles.reward is not None
    score = roles.reward.score

    def judged(groups: Any) -> Iterator[ScoredGroup]:
        for group in score(groups):
            verdicts = [
                Verdict(
                    f"{sample.sample_id}/canary/0",
                    "canary",
                    (),
                    None,
                    "j",
                    "[]",
                    "",
                    {},
                    float(place < right),
                    expected=1.0,
                )
                for place, sample in enumerate(group.trajectories)
            ]
            yield replace(group, verdicts=tuple(verdicts))

    return replace(roles, reward=SimpleNamespace(score=judged))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(("right", "alarm"), [(3, True), (4, False)])
def test_a_judge_that_fails_canaries_is_reported_once(tmp_path: Path, right: int, alarm: bool):
    """Three of four canaries are 75%, and the limit is 80%. Greedy answers, one a prompt, are not judged wrong."""
    run_dir = RunDir.create(tmp_path, "a")
    with running(run_dir, 3, with_canaries(right), checkpoint_every=1) as loop:
        loop.experiment = loop.experiment.model_copy(update={"judge": JudgeConfig(model="j")})
        loop.progress.console = Console(file=io.StringIO(), width=300)
        state = loop.run()
        verdicts = list(loop.ledger.verdicts())
    assert isinstance(loop.progress.console.file, io.StringIO)
    said = loop.progress.console.file.getvalue()
    assert said.count("warning") == alarm
    assert state.canary_alarm == alarm
    if alarm:
        # Before step 1: of 10 prompts' answers, 10 greedy and 40 sampled, (10 + 30) / 50 are right: 80.0% is no alarm.
        # Step 1 adds 12 of 16.
        assert "the judge was right about 78.8% of 66 canaries, below judge.canary_alarm=0.8" in said
    lines = {line["step"]: line for line in MetricsLog.read(run_dir.metrics)}
    assert lines[2]["judge/canary_accuracy"] == right / 4
    assert lines[2]["judge/verdicts"] == 16
    assert len(verdicts) == 2 * 50 + 3 * 16
    with running(run_dir, 3) as resumed:
        resumed.restore(resumed.checkpoints.latest())
        assert resumed.state.canary_alarm == alarm


def test_learns_and_says_so(tmp_path: Path):
    with running(RunDir.create(tmp_path, "a"), 30, eval_every=10) as loop:
        state = loop.run()
    assert state.before["eval/accuracy_sampled"] < 0.5
    assert state.after["eval/accuracy_sampled"] > 0.8
    assert state.after["eval/accuracy_greedy"] == 1.0
    assert (state.step, state.version, state.samples, state.tokens) == (30, 30, 30 * 16, 30 * 16)
    lines = MetricsLog.read(loop.run_dir.metrics)
    assert [line["step"] for line in lines] == list(range(31))
    assert [line["step"] for line in lines if "eval/accuracy_sampled" in line] == [0, 10, 20, 30]
    assert lines[-1]["sync/version"] == 30
    rewards = [line["reward/mean"] for line in lines[1:]]
    assert sum(rewards[-5:]) > 2 * sum(rewards[:5])


def test_every_sample_is_in_the_ledger_with_the_advantage_that_trained(tmp_path: Path):
    with running(RunDir.create(tmp_path, "a"), 2) as loop:
        loop.run()
        samples = loop.ledger.samples(1)
    trained = [sample for sample in samples if sample.phase == "train"]
    assert len(trained) == 16
    for prompt_id in {sample.prompt_id for sample in trained}:
        group = [sample for sample in trained if sample.prompt_id == prompt_id]
        assert sum(sample.advantage or 0.0 for sample in group) == pytest.approx(0.0, abs=1e-6)
        assert all((sample.reward == 1.0) == (sample.response == "2") for sample in group)


def test_queue_refuses_what_is_too_stale_or_too_much():
    queue = ExperienceQueue(max_staleness=0)
    queue.put(Experience(version=4))
    assert queue.full
    with pytest.raises(AssertionError, match="further ahead"):
        queue.put(Experience(version=4))
    with pytest.raises(AssertionError, match="version 4 reached version 5"):
        queue.take(5)


class EndsAt(Method):
    """GRPO that has learned enough after so many steps, and looks at what the run wrote down before."""

    last = 3

    def learn(self, roles: Roles, experience: Experience, step: Step) -> Learned:
        assert step.history is not None
        before = step.history.samples(step.number - 1)
        assert len(before) == (16 if step.number > 1 else 0)
        assert {sample.step for sample in before} <= {step.number - 1}
        done = "learned enough" if step.number == self.last else None
        return replace(super().learn(roles, experience, step), done=done)


def test_a_method_ends_the_run_and_says_why(tmp_path: Path) -> None:
    method = EndsAt(GRPO, SAMPLING, 0)
    with running(run_dir := RunDir.create(tmp_path, "done"), steps=9, method=method) as loop:
        state = loop.run()
    assert (state.step, state.done) == (3, "learned enough")
    assert [line["step"] for line in MetricsLog.read(run_dir.metrics)] == [0, 1, 2, 3]
    assert "eval/accuracy_sampled" in MetricsLog.read(run_dir.metrics)[-1]
    with running(run_dir, steps=9) as again:
        again.restore(again.checkpoints.latest())
        assert again.run() == state
