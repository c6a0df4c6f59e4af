"""SPIN with real actors: two iterations, and the second again after a resume from the first."""

from __future__ import annotations

import math
import shutil

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
    "policy.ranks=1",
    "policy.optimizer=rmsprop",
    "policy.learning_rate=1.0e-4",
    "loop.steps=2",
    "loop.checkpoint_every=1",
)


@pytest.fixture(scope="module")
def played(workplace: Workplace) -> Run:
    return workplace.train(workplace.stage("spin/demo.yaml", "spin"), "spin", SETTINGS)


def test_an_iteration_starts_at_its_opponent_and_leaves_it(played: Run):
    first, second = played.metrics[1:]
    for line in (first, second):
        assert line["dataset/pairs"] + line["dataset/held_out"] + line["dataset/equal"] == 96
        assert line["train/loss"] < math.log(2)
        assert line["train/margin"] > 0
    assert first["train/pairs"] == first["dataset/pairs"]
    assert second["train/pairs"] == first["dataset/pairs"] + second["dataset/pairs"]
    assert [line["train/lambda"] for line in (first, second)] == [1.0, 2.0]
    assert [line["train/learning_rate"] for line in (first, second)] == pytest.approx([1e-4, 5e-5])
    assert {sample.policy_versions[-1] for sample in played.samples(2, "train")} == {1}


@pytest.mark.slow
def test_a_resumed_run_is_the_run_it_would_have_been(workplace: Workplace, played: Run):
    """A copy that is taken back to its first iteration, and goes on."""
    copy = workplace.folder / "again"
    shutil.copytree(played.path, copy)
    shutil.rmtree(copy / "checkpoints" / "step-2")
    shutil.rmtree(copy / "final")
    (copy / "summary.json").unlink()
    workplace.succeed("rlsys", "resume", copy)
    resumed = Run(copy)
    assert resumed.results == played.results
    assert resumed.summary["weight_hash"] == played.summary["weight_hash"]
    assert resumed.summary["counts"] == played.summary["counts"]
