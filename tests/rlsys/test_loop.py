from __future__ import annotations

import io
import json
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fakes import SoftmaxPolicy, make_roles, prompt
from rich.console import Console

from rlsys.algorithm import Experience, Learned, Step
from rlsys.algorithms.grpo import Algorithm, Config
from rlsys.batch import ScoredGroup, Verdict
from rlsys.checkpoint import Checkpoints
from rlsys.config.actors import ModelConfig
from rlsys.config.dataset import DatasetConfig
from rlsys.config.judge import JudgeConfig
from rlsys.config.models import DataConfig, EvaluationConfig, Experiment, LoopConfig, SamplingConfig
from rlsys.data.stream import Stream
from rlsys.dataset import Dataset
from rlsys.evaluation import AnswerEvaluator, Evaluation, Evaluator, Judgement
from rlsys.ledger import Ledger
from rlsys.loop import ExperienceQueue, Loop
from rlsys.metrics import MetricsLog
from rlsys.progress import Progress
from rlsys.roles import Roles
from rlsys.run_dir import RunDir
from rlsys.stages import evaluate
from rlsys.summary import measured_rows

SAMPLING = SamplingConfig(max_tokens=4)


@contextmanager
def running(run_dir: RunDir, steps: int, roles: Roles | None = None, evaluator: Evaluator | None = None, **loop: Any) -> Iterator[Loop]:
    """A loop over fakes, in `run_dir`."""
    experiment = Experiment(
        name="test",
        seed=3,
        model=ModelConfig(path="none"),
        data=DataConfig(train=DatasetConfig(path="none")),
        loop=LoopConfig(steps=steps, **loop),
    )
    algorithm = Algorithm(Config(name="grpo", prompts_per_step=4, group_size=4), SAMPLING, 0)
    rows = [prompt(f"p{i}", "2") for i in range(10)]
    answers = AnswerEvaluator(tuple(rows), EvaluationConfig(samples=4), SAMPLING, Judgement("answered", 1.0), 0)
    with ExitStack() as stack:
        yield Loop(
            experiment,
            algorithm,
            roles or make_roles(learning_rate=0.5),
            Stream(rows, experiment.seed, True),
            evaluator or answers,
            run_dir,
            stack.enter_context(Ledger(run_dir.ledger)),
            stack.enter_context(MetricsLog(run_dir, experiment.logging)),
            Checkpoints(run_dir.checkpoints, experiment.loop.keep_last),
            stack.enter_context(Progress(steps, "off", title="test")),
            Dataset(run_dir.dataset),
        )


def sampled_rewards(loop: Loop, step: int) -> dict[str, float]:
    """Mean reward of each prompt's sampled held-out answers, with plain SQL."""
    database = sqlite3.connect(loop.run_dir.ledger)
    query = "SELECT prompt_id, avg(reward) FROM samples WHERE step = ? AND phase = 'eval' AND sample_id LIKE 'eval-sampled-%' GROUP BY prompt_id"
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
        expected = sum(1.0 if now[name] > start[name] else 0.5 if now[name] == start[name] else 0.0 for name in now) / 10
        assert lines[step]["eval/win_rate_sampled"] == expected
    assert state.after["eval/win_rate_sampled"] == lines[6]["eval/win_rate_sampled"] > 0.5


def test_what_nothing_trains_is_measured_once_at_the_end(tmp_path: Path):
    roles = make_roles()
    assert roles.weight_sync is not None
    roles.weight_sync.sync(0)
    run_dir = RunDir.create(tmp_path, "a")
    with running(run_dir, 1, Roles(rollout=roles.rollout, reward=roles.reward)) as loop:
        loop.algorithm = evaluate.Algorithm(evaluate.Config(), SAMPLING, 0)
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
                Verdict(f"{sample.sample_id}/canary/0", "canary", (), None, "j", "[]", "", {}, float(place < right), expected=1.0)
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
        # Before step 1: of 10 prompts' answers, 10 greedy and 40 sampled, (10 + 30) / 50 are right: 80.0% is no alarm. Step 1 adds 12 of 16.
        assert "the judge was right about 78.8% of 66 canaries, below judge.canary_alarm=0.8" in said
    lines = {line["step"]: line for line in MetricsLog.read(run_dir.metrics)}
    assert lines[2]["judge/canary_accuracy"] == right / 4
    assert lines[2]["judge/verdicts"] == 16
    assert len(verdicts) == 2 * 50 + 3 * 16
    with running(run_dir, 3) as resumed:
        resumed.restore(resumed.checkpoints.latest())
        assert resumed.state.canary_alarm == alarm


def logits(loop: Loop) -> list[float]:
    assert isinstance(loop.roles.policy, SoftmaxPolicy)
    return loop.roles.policy.logits.tolist()


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


def test_a_resumed_run_is_the_run_it_would_have_been(tmp_path: Path):
    with running(RunDir.create(tmp_path, "whole"), 8) as whole:
        whole.run()
    broken = RunDir.create(tmp_path, "broken")
    with running(broken, 8, checkpoint_every=3) as loop:
        collect, calls = loop.algorithm.collect, iter(range(100))

        def dies_in_step_6(*args: Any) -> Experience:
            if next(calls) == 5:
                raise KeyboardInterrupt
            return collect(*args)

        object.__setattr__(loop.algorithm, "collect", dies_in_step_6)
        with pytest.raises(KeyboardInterrupt):
            loop.run()
    with running(broken, 8) as resumed:
        resumed.restore(resumed.checkpoints.latest())
        assert resumed.state.step == 3
        resumed.run()
    assert logits(resumed) == logits(whole)
    kept = ("step", "reward/mean", "train/loss", "train/grad_norm", "train/entropy", "eval/accuracy_sampled")
    lines = [[{key: line.get(key) for key in kept} for line in MetricsLog.read(run.run_dir.metrics)] for run in (whole, resumed)]
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


class Scripted:
    """Gives the score that stands for the step, and keeps the weights that it was shown."""

    def __init__(self, scores: Mapping[int, float | None]) -> None:
        self.scores = scores
        self.shown: dict[int, list[float]] = {}

    def __call__(self, roles: Roles, step: int) -> Evaluation:
        assert isinstance(roles.policy, SoftmaxPolicy)
        self.shown[step] = roles.policy.logits.tolist()
        score = self.scores[step]
        return Evaluation({"eval/height": -1.0 if score is None else score}, score=score)

    def accuracy(self, groups: object) -> None:
        return None


PEAK = {0: 9.0, 2: 1.0, 4: 3.0, 6: 2.0, 8: 2.9, 10: 2.5, 12: 2.4}
"""Best at step 4; the start (9.0) is not a model of this run."""


@pytest.mark.parametrize(
    ("scores", "patience", "ends", "best"),
    [
        (PEAK, 2, 8, 4),
        (PEAK, 3, 10, 4),
        (PEAK, 9, 12, 4),
        ({0: 0.0, 2: 1.0, 4: 2.0, 6: 3.0, 8: 4.0, 10: 5.0, 12: 6.0}, 1, 12, 12),
        # An evaluation as good as the best one is no better.
        ({0: 0.0, 2: 1.0, 4: 1.0, 6: 1.0, 8: 2.0, 10: 2.0, 12: 2.0}, 2, 6, 6),
        # Nothing could be scored, or only as NaN: that is no better than anything.
        ({0: 0.0, 2: 1.0, 4: None, 6: float("nan")}, 2, 6, 2),
        ({0: 0.0, 2: float("nan"), 4: 1.0, 6: 0.5, 8: 0.4}, 2, 8, 4),
    ],
    ids=["at once", "later", "at the last step", "the last is the best", "ties", "unscored", "begins with NaN"],
)
@pytest.mark.parametrize("keep_last", [1, 5])
def test_patience_ends_a_run_with_its_best_model(
    tmp_path: Path, scores: Mapping[int, float | None], patience: int, ends: int, best: int, keep_last: int
):
    scripted = Scripted(scores)
    with running(
        RunDir.create(tmp_path, "a"), 12, evaluator=scripted, eval_every=2, patience=patience, checkpoint_every=1, keep_last=keep_last
    ) as loop:
        state = loop.run()
    assert state.step == ends
    assert logits(loop) == scripted.shown[best]
    assert state.best_step == (None if best == ends else best)
    assert state.after == {"eval/height": scores[best]}
    assert [line["step"] for line in MetricsLog.read(loop.run_dir.metrics)] == list(range(ends + 1))


def test_a_measure_that_was_not_a_number_stays_a_number_for_the_summary(tmp_path: Path):
    class Undefined(Scripted):
        def __call__(self, roles: Roles, step: int) -> Evaluation:
            return Evaluation({"eval/correlation": float("nan")}, score=super().__call__(roles, step).score)

    with running(RunDir.create(tmp_path, "a"), 12, evaluator=Undefined(PEAK), eval_every=2, patience=2) as loop:
        state = loop.run()
    assert state.best_step == 4
    assert measured_rows({"before": state.before, "after": state.after}) == [("held-out correlation", "nan -> nan")]


def test_without_patience_the_last_model_is_the_runs(tmp_path: Path):
    scripted = Scripted(PEAK)
    with running(RunDir.create(tmp_path, "a"), 12, evaluator=scripted, eval_every=2) as loop:
        state = loop.run()
    assert (state.step, state.best_step, logits(loop)) == (12, None, scripted.shown[12])


def test_a_run_in_which_nothing_could_be_scored_ends_with_its_last_model(tmp_path: Path):
    scripted = Scripted({0: None, 2: None, 4: None})
    with running(RunDir.create(tmp_path, "a"), 12, evaluator=scripted, eval_every=2, patience=2) as loop:
        state = loop.run()
    assert (state.step, state.best_step, logits(loop)) == (4, None, scripted.shown[4])


@pytest.mark.parametrize("killed_in", [2, 3, 5, 6, 7, 8])
def test_patience_goes_on_counting_after_a_resume(tmp_path: Path, killed_in: int):
    whole, broken = Scripted(PEAK), RunDir.create(tmp_path, "broken")
    settings: dict[str, Any] = {"eval_every": 2, "patience": 2, "checkpoint_every": 3, "keep_last": 1}
    with running(RunDir.create(tmp_path, "whole"), 12, evaluator=whole, **settings) as undisturbed:
        undisturbed.run()
    with running(broken, 12, evaluator=Scripted(PEAK), **settings) as loop:
        collect = loop.algorithm.collect

        def dies(roles: Any, source: Any, step: Any) -> Experience:
            if step.number == killed_in:
                raise KeyboardInterrupt
            return collect(roles, source, step)

        object.__setattr__(loop.algorithm, "collect", dies)
        with pytest.raises(KeyboardInterrupt):
            loop.run()
    with running(broken, 12, evaluator=Scripted(PEAK), **settings) as resumed:
        resumed.restore(resumed.checkpoints.latest())
        resumed.run()
    kept = ("step", "waited", "best_score", "best_step", "before", "after")
    assert [getattr(resumed.state, name) for name in kept] == [getattr(undisturbed.state, name) for name in kept]
    assert (resumed.state.step, resumed.state.best_step) == (8, 4)
    assert logits(resumed) == logits(undisturbed) == whole.shown[4]


def test_a_run_killed_between_its_end_and_its_export_ends_the_same_way(tmp_path: Path):
    run_dir, scripted = RunDir.create(tmp_path, "a"), Scripted(PEAK)
    settings: dict[str, Any] = {"eval_every": 2, "patience": 2}
    with running(run_dir, 12, evaluator=scripted, **settings) as loop:
        loop.run()
    with running(run_dir, 12, evaluator=scripted, **settings) as again:
        again.restore(again.checkpoints.latest())
        state = again.run()
    assert (state.step, state.best_step, state.after, logits(again)) == (8, 4, {"eval/height": 3.0}, scripted.shown[4])


def test_queue_refuses_what_is_too_stale_or_too_much():
    queue = ExperienceQueue(max_staleness=0)
    queue.put(Experience(version=4))
    assert queue.full
    with pytest.raises(AssertionError, match="further ahead"):
        queue.put(Experience(version=4))
    with pytest.raises(AssertionError, match="version 4 reached version 5"):
        queue.take(5)


class EndsAt(Algorithm):
    """GRPO that has learned enough after so many steps, and looks at what the run wrote down before."""

    last = 3

    def learn(self, roles: Roles, experience: Experience, step: Step) -> Learned:
        assert step.past is not None
        before = step.past.samples(step.number - 1)
        assert len(before) == (16 if step.number > 1 else 0)
        assert {sample.step for sample in before} <= {step.number - 1}
        done = "learned enough" if step.number == self.last else None
        return replace(super().learn(roles, experience, step), done=done)


def test_an_algorithm_ends_the_run_and_says_why(tmp_path: Path) -> None:
    with running(run_dir := RunDir.create(tmp_path, "done"), steps=9) as loop:
        loop.algorithm = EndsAt(Config(name="grpo", prompts_per_step=4, group_size=4), SAMPLING, 0)
        state = loop.run()
    assert (state.step, state.done) == (3, "learned enough")
    assert [line["step"] for line in MetricsLog.read(run_dir.metrics)] == [0, 1, 2, 3]
    assert "eval/accuracy_sampled" in MetricsLog.read(run_dir.metrics)[-1]
    with running(run_dir, steps=9) as again:
        again.restore(again.checkpoints.latest())
        assert again.run() == state
