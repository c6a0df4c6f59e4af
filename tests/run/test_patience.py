"""When a run ends without progress, and which of its models it keeps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.fakes import SoftmaxPolicy
from support.looping import logits, run_killed_in, running

from rlsys.roles import Roles
from rlsys.run.evaluation import Evaluation
from rlsys.run.folder import RunDir
from rlsys.run.metrics import MetricsLog
from rlsys.run.summary import measured_rows


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
        RunDir.create(tmp_path, "a"),
        12,
        evaluator=scripted,
        eval_every=2,
        patience=patience,
        checkpoint_every=1,
        keep_last=keep_last,
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
        run_killed_in(loop, killed_in)
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
