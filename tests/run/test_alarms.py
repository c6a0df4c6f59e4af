"""Alarms that a user sets on metrics."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from support.fakes import make_roles
from support.looping import running

from rlsys.config.experiment import LoopConfig
from rlsys.run.alarms import Alarms, robust_z
from rlsys.run.folder import RunDir


def fired(alarm: str, *values: float) -> list[int]:
    """In which steps it goes off."""
    alarms = Alarms((alarm,), ())
    return [step for step, value in enumerate(values) if list(alarms.fired({"train/kl": value}))]


@pytest.mark.parametrize(
    ("alarm", "values", "steps"),
    [
        ("train/kl > 0.5", (0.5, 0.6, 0.4, 0.7), [1, 3]),
        ("train/kl>=5e-1", (0.5, 0.4), [0]),
        ("train/kl < -.5", (-0.5, -0.6), [1]),
        ("train/kl > 0.5 for 3", (1, 1, 0, 1, 1, 1, 1), [5]),
        ("train/kl > 0.5", (float("nan"),), [0]),
        ("z(train/kl) > 3", (100,) * 9, []),
        ("z(train/kl) > 3", (100, float("nan")), [1]),
    ],
)
def test_a_comparison_goes_off_where_it_holds(alarm: str, values: tuple[float, ...], steps: list[int]):
    assert fired(alarm, *values) == steps


def test_z_is_told_by_median_and_median_deviation():
    """Of 1 to 11 the median is 6 and the median deviation 3; an outlier among the earlier values hardly matters."""
    assert robust_z(10.4478, range(1, 12)) == pytest.approx(1.0)
    assert robust_z(10.4478, [*range(1, 11), 1e9]) == pytest.approx(1.0)
    assert robust_z(7, range(1, 10)) is None
    assert robust_z(7, [5] * 6 + [*range(5)]) is None
    steady = [1 + 0.01 * (step % 5) for step in range(30)]
    assert fired("z(train/kl) > 8", *steady, 1.2, *steady) == [30]


def test_it_remembers_over_a_checkpoint():
    whole, first, second = (Alarms(("z(train/kl) > 2 for 2",), ("train/kl > 5",)) for _ in range(3))
    values = [1 + 0.01 * (step % 5) for step in range(20)] + [1.2, 1.3, 6]
    expected = [list(whole.fired({"train/kl": value})) for value in values]
    found = [list(first.fired({"train/kl": value})) for value in values[:21]]
    second.restore(first.state())
    assert found + [list(second.fired({"train/kl": value})) for value in values[21:]] == expected
    assert [[stops for stops, _ in told] for told in expected] == [[]] * 21 + [[False], [True]]


@pytest.mark.parametrize(
    "text", ["train/kl", "train/kl == 1", "> 1", "z(train/kl > 1", "train/kl > one", "a > 1 for 0"]
)
def test_what_is_no_comparison_is_refused(text: str):
    with pytest.raises(ValidationError, match="is no comparison of a metric with a number"):
        LoopConfig(steps=1, stop_when=(text,))


def test_a_run_stops_with_its_checkpoint_and_says_why(tmp_path: Path):
    with running(
        RunDir.create(tmp_path, "a"), 30, make_roles(learning_rate=0.5), stop_when=["reward/mean > 0.6"]
    ) as loop:
        state = loop.run()
    assert 1 < state.step < 30
    assert state.done is not None
    assert state.done.startswith("loop.stop_when: reward/mean > 0.6: reward/mean is 0.")
    assert state.notes == [f"step {state.step}: {state.done.removeprefix('loop.stop_when: ')}"]
    assert loop.checkpoints.steps() == [state.step]


def test_a_stop_that_is_taken_away_lets_the_run_go_on(tmp_path: Path):
    run_dir = RunDir.create(tmp_path, "a")
    with running(run_dir, 9, stop_when=["reward/mean >= 0"]) as loop:
        assert loop.run().step == 1
    for alarms, last in ((["reward/mean >= 0"], 1), (["reward/mean > 5"], 9)):
        with running(run_dir, 9, stop_when=alarms) as loop:
            loop.restore(loop.checkpoints.latest())
            assert loop.run().step == last


def test_a_measure_that_never_came_is_told_with_the_nearest():
    alarms = Alarms(("trian/kl > 1",), ())
    assert list(alarms.fired({"train/kl": 2.0})) == []
    assert Alarms(LoopConfig(steps=1).warn_when, ()).unseen({}) == [], "nobody asked for it"
    assert alarms.unseen({"train/kl": 2.0}) == ["trian/kl > 1: no step measured trian/kl; did you mean train/kl?"]


def test_a_misspelt_metric_is_told_after_the_first_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """With the nearest names, once; what comes later or seldom, and alarms that nobody asked for, are not doubted."""
    fine = ["eval/win_rate_sampled < 0.1", "faults/restarts > 3", "time/checkpoint > 9", "reward/mean > 9"]
    alarms = ["eval/accuracy_sample < 0.1", *fine]
    with running(RunDir.create(tmp_path, "a"), 2, make_roles(), warn_when=alarms) as loop:
        loop.run()
    (line,) = (" ".join(text.split()) for text in capsys.readouterr().out.split("test: warning: ")[1:])
    said, _, names = line.partition("; the nearest names are ")
    assert said == "eval/accuracy_sample < 0.1: nothing has measured eval/accuracy_sample so far"
    assert names.startswith("eval/accuracy_sampled, eval/")
