"""SPIN with real actors: two iterations, and the second again after a resume from the first."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass

import pytest
from support.command_line import Run, Workplace

pytestmark = pytest.mark.engine

SETTINGS = (
    "model.path=playground:0.5m",
    "method.prompts_per_step=96",
    "method.epochs=2",
    "method.mini_batches=4",
    "method.mix_previous=true",
    "method.lambdas=[1.0, 2.0]",
    "method.learning_rates=[1.0, 0.5]",
    "data.train.limit=160",
    "data.eval.limit=40",
    "policy.optimizer=rmsprop",
    "policy.learning_rate=1.0e-4",
    "loop.steps=2",
    "loop.checkpoint_every=1",
)


@dataclass(frozen=True)
class Played:
    straight: Run
    resumed: Run
    """A copy of `straight` that was taken back to its first iteration, and went on."""


@pytest.fixture(scope="module")
def played(workplace: Workplace) -> Played:
    straight = workplace.train(workplace.stage("spin/demo.yaml", "spin"), "spin", SETTINGS)
    copy = workplace.folder / "again"
    shutil.copytree(straight.path, copy)
    shutil.rmtree(copy / "checkpoints" / "step-2")
    shutil.rmtree(copy / "final")
    (copy / "summary.json").unlink()
    workplace.succeed("rlsys", "resume", copy)
    return Played(straight, Run(copy))


def test_an_iteration_starts_at_its_opponent_and_leaves_it(played: Played):
    first, second = played.straight.metrics[1:]
    for line in (first, second):
        assert line["dataset/pairs"] + line["dataset/held_out"] + line["dataset/equal"] == 96
        assert line["train/loss"] < math.log(2)
        assert line["train/margin"] > 0
    assert first["train/pairs"] == first["dataset/pairs"]
    assert second["train/pairs"] == first["dataset/pairs"] + second["dataset/pairs"]
    assert [line["train/lambda"] for line in (first, second)] == [1.0, 2.0]
    assert [line["train/learning_rate"] for line in (first, second)] == pytest.approx([1e-4, 5e-5])
    assert {sample.policy_versions[-1] for sample in played.straight.samples(2, "train")} == {1}


def test_a_resumed_run_is_the_run_it_would_have_been(played: Played):
    assert played.resumed.results == played.straight.results
    assert played.resumed.summary["weight_hash"] == played.straight.summary["weight_hash"]
    assert played.resumed.summary["counts"] == played.straight.summary["counts"]
