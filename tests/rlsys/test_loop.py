from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes import SoftmaxPolicy, make_roles, prompt

from rlsys.algorithm import Experience
from rlsys.algorithms.grpo import Algorithm, Config
from rlsys.checkpoint import Checkpoints
from rlsys.config.models import DataConfig, DatasetConfig, EvaluationConfig, Experiment, LoopConfig, ModelConfig, SamplingConfig
from rlsys.data.stream import Stream
from rlsys.evaluation import Evaluator, Judgement
from rlsys.ledger import Ledger
from rlsys.loop import ExperienceQueue, Loop
from rlsys.metrics import MetricsLog
from rlsys.progress import Progress
from rlsys.roles import Roles
from rlsys.run_dir import RunDir

SAMPLING = SamplingConfig(max_tokens=4)


@contextmanager
def running(run_dir: RunDir, steps: int, roles: Roles | None = None, **loop: Any) -> Iterator[Loop]:
    """A loop over fakes, in `run_dir`."""
    experiment = Experiment(
        name="test",
        seed=3,
        model=ModelConfig(path="none"),
        data=DataConfig(train=DatasetConfig(path="none")),
        loop=LoopConfig(steps=steps, **loop),
    )
    algorithm = Algorithm(Config(prompts_per_step=4, group_size=4), SAMPLING, 0)
    rows = [prompt(f"p{i}", "2") for i in range(10)]
    evaluator = Evaluator(tuple(rows), EvaluationConfig(samples=4), SAMPLING, Judgement("answered", 1.0))
    with ExitStack() as stack:
        yield Loop(
            experiment,
            algorithm,
            roles or make_roles(learning_rate=0.5),
            Stream(rows, experiment.seed, True),
            evaluator,
            run_dir,
            stack.enter_context(Ledger(run_dir.ledger)),
            stack.enter_context(MetricsLog(run_dir, experiment.logging)),
            Checkpoints(run_dir.checkpoints, experiment.loop.keep_last),
            stack.enter_context(Progress(steps, "off", title="test")),
        )


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


def test_queue_refuses_what_is_too_stale_or_too_much():
    queue = ExperienceQueue(max_staleness=0)
    queue.put(Experience(version=4))
    assert queue.full
    with pytest.raises(AssertionError, match="further ahead"):
        queue.put(Experience(version=4))
    with pytest.raises(AssertionError, match="version 4 reached version 5"):
        queue.take(5)
