"""A run that learns nothing says so: while it happens, in its summary, and by stopping where it is told to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.fakes import make_roles
from support.looping import running

from rlsys.config.experiment import LoopConfig
from rlsys.methods import evaluate, grpo, ppo, sft
from rlsys.run.folder import RunDir
from rlsys.run.summary import training_rows
from rlsys.run.train import in_steps
from rlsys.run.watch import Watch, untaught
from rlsys.samples import Score

TAUGHT = {"rollout/samples": 8.0, "reward/abstained": 0.0, "reward/std": 0.5, "train/grad_norm": 0.1}
GRPO, PPO, SFT = grpo.Config(name="grpo").facts, ppo.Config(name="ppo").facts, sft.Config().facts


@pytest.mark.parametrize(
    ("facts", "metrics", "reason"),
    [
        (GRPO, TAUGHT, None),
        (GRPO, {**TAUGHT, "train/grad_norm": 0.0}, "the gradient is 0"),
        (GRPO, {"rollout/samples": 8.0, "reward/abstained": 8.0}, "no sample has a score"),
        (GRPO, {"rollout/samples": 8.0, "reward/std": 0.0, "reward/mean": 1.0}, "all samples have the reward 1"),
        (
            GRPO,
            {**TAUGHT, "reward/equal_groups_rate": 1.0, "train/grad_norm": 0.0},
            "the samples of each prompt have one reward",
        ),
        # Of one sample a prompt, every group is of one reward, and teaches all the same.
        (PPO, {**TAUGHT, "reward/equal_groups_rate": 1.0}, None),
        (PPO, {**TAUGHT, "reward/equal_groups_rate": 1.0, "train/grad_norm": 0.0}, "the gradient is 0"),
        (SFT, {"train/loss": 0.3, "train/grad_norm": 0.0}, "the gradient is 0"),
        (GRPO, {"rollout/samples": 8.0, "reward/std": 0.5}, "nothing was left to learn from"),
    ],
)
def test_why_a_step_taught_nothing(facts: Any, metrics: dict[str, float], reason: str | None):
    assert untaught(metrics, facts) == reason


def test_it_is_said_at_once_and_then_ever_more_rarely():
    watch, said = Watch(GRPO), {}
    for step in range(1, 112):
        said[step] = list(watch.step(step, {**TAUGHT, "train/grad_norm": 0.0}))
    assert [step for step, lines in said.items() if lines] == [1, 10, 100]
    assert said[1] == ["step 1 taught nothing: the gradient is 0"]
    assert said[10] == ["10 steps in a row, up to step 10, taught nothing: the gradient is 0"]
    assert list(watch.step(112, TAUGHT)) == []
    assert list(watch.step(113, {**TAUGHT, "train/grad_norm": 0.0})) == ["step 113 taught nothing: the gradient is 0"]
    assert watch.warnings(200) == [
        "112 of 200 steps taught nothing, first step 1 and last step 113, because the gradient is 0"
    ]


def test_samples_that_never_end_are_a_warning_of_their_own():
    watch = Watch(GRPO)
    (line,) = watch.step(1, {**TAUGHT, "rollout/stopped_rate": 0.0})
    assert line == "step 1 had no sample that ended by itself: every sample ran into sampling.max_tokens"
    assert list(watch.step(2, {**TAUGHT, "rollout/stopped_rate": 0.01})) == []


def test_what_only_measures_has_nothing_to_teach():
    watch = Watch(evaluate.Config().facts)
    assert list(watch.step(1, {"rollout/samples": 8.0, "reward/std": 0.0, "reward/mean": 0.0})) == []


def same(*_: Any) -> Score:
    return Score(1.0, {"answered": 1.0})


def test_a_run_of_equal_rewards_stops_where_it_is_told_to_and_goes_on_counting_after_a_resume(tmp_path: Path):
    run_dir = RunDir.create(tmp_path, "a")
    with running(run_dir, 2, make_roles(reward=same), checkpoint_every=2, stop_if_nothing_taught=5) as loop:
        loop.run()
    assert loop.state.done is None
    with running(run_dir, 9, make_roles(reward=same), checkpoint_every=2, stop_if_nothing_taught=5) as resumed:
        resumed.restore(resumed.checkpoints.latest())
        state = resumed.run()
    assert state.step == 5
    reason = "the last because all samples have the reward 1"
    assert state.done == f"5 steps in a row taught nothing, {reason} (loop.stop_if_nothing_taught=5)"


def test_the_closing_table_has_the_first_and_the_last_training_numbers(tmp_path: Path):
    with running(RunDir.create(tmp_path, "a"), 12) as loop:
        state = loop.run()
    assert state.first["reward/mean"] < state.last["reward/mean"]  # it learns
    rows = dict(training_rows({"first": {"train/loss": 2.345678, "reward/mean": 0.25}, "last": {"train/loss": 0.5}}))
    assert rows == {"training loss, first and last step": "2.35 -> 0.5"}


def experiment(**loop: Any) -> Any:
    with running(RunDir.create(Path(loop.pop("folder")), "a"), 1) as made:
        return made.experiment.model_copy(update={"loop": LoopConfig(**loop)})


@pytest.mark.parametrize(("epochs", "rows", "steps"), [(1.0, 8, 2), (1.0, 9, 3), (2.5, 10, 7), (0.1, 4, 1)])
def test_epochs_are_counted_in_steps(tmp_path: Path, epochs: float, rows: int, steps: int):
    """A step of this GRPO takes four prompts."""
    found = in_steps(experiment(epochs=epochs, folder=tmp_path), rows)
    assert (found.loop.steps, found.loop.epochs) == (steps, None)
