import io
import time

import pytest
from rich.console import Console

from rlsys.run.progress import Progress


class Clock:
    """Time that passes only when told."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def console(terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=160, color_system=None)


def written(progress: Progress) -> str:
    assert isinstance(progress.console.file, io.StringIO)
    return progress.console.file.getvalue()


def test_parts_add_up_within_a_step_and_begin_anew_after_it(clock: Clock) -> None:
    progress = Progress(2, "off")
    for seconds in (2.0, 3.0):
        with progress.timed("collect"):
            clock.now += seconds
    with progress.timed("learn"):
        clock.now += 1.0
    clock.now += 0.5
    assert progress.timings() == {"collect": 5.0, "learn": 1.0, "step": 6.5}
    progress.update(1, {})
    assert progress.timings() == {"step": 0.0}


def test_a_part_that_raises_is_timed_too(clock: Clock) -> None:
    progress = Progress(1, "off")

    def fail() -> None:
        with progress.timed("learn"):
            clock.now += 4.0
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert progress.timings()["learn"] == 4.0


def test_plain_lines_show_values_parts_and_time_left(clock: Clock) -> None:
    with Progress(4, "auto", "quickstart", console()) as progress:
        with progress.timed("collect"):
            clock.now += 30.0
        values = {
            "reward/mean": 0.51234,
            "eval/accuracy_sampled": 0.5,
            "train/kl": 0.001,
            "rollout/tokens_per_second": 9712.4,
            "other": 1.0,
        }
        progress.update(1, values)
    assert written(progress) == (
        "step 1/4  reward 0.512  held-out 0.5 (step 1)  KL 0.001  tokens/s 9,712  elapsed 0:30  ETA 1:30  "
        "[collect 30.0s  step 30.0s]\n"
    )


def test_fast_steps_print_no_more_than_a_line_a_second_but_always_the_last(clock: Clock) -> None:
    with Progress(10, "plain", console=console()) as progress:
        for step in range(1, 11):
            clock.now += 0.4
            progress.update(step, {"train/loss": 1.0 / step})
    assert [line.split()[1] for line in written(progress).splitlines()] == ["1/10", "4/10", "7/10", "10/10"]


def test_the_live_display_names_the_part_that_runs_now_and_keeps_values_in_view(clock: Clock) -> None:
    with Progress(3, "auto", "quickstart", console(terminal=True)) as progress:
        progress.update(1, {"eval/accuracy_sampled": 0.25})
        progress.update(2, {"reward/mean": 0.75})
        with progress.timed("learn"):
            clock.now += 2.0
            progress.console.print(progress._render())
    assert "quickstart" in written(progress)
    assert "step 2/3" in written(progress)
    assert "now: learn 2.0s" in written(progress)
    assert "reward 0.75  held-out 0.25 (step 1)" in written(progress)


@pytest.mark.parametrize("mode", ["off", "plain", "live"])
def test_the_closing_table_comes_in_every_mode(mode: str) -> None:
    with Progress(1, mode, console=console(terminal=mode == "live")) as progress:  # pyright: ignore[reportArgumentType]
        progress.table([("accuracy", "0.49 -> 0.96"), ("run folder", "/runs/[a]/" + "x" * 200)])
    assert "0.49 -> 0.96" in written(progress)
    assert written(progress).replace("\n", "").count("x") == 200, "a long path is wrapped, never cut"
    assert "/runs/[a]/" in written(progress), "brackets in a path are no markup"


@pytest.mark.parametrize("mode", ["off", "plain", "live"])
def test_a_warning_comes_in_every_mode(mode: str) -> None:
    with Progress(1, mode, "run", console(terminal=mode == "live")) as progress:  # pyright: ignore[reportArgumentType]
        progress.warn("the judge [fails]")
    assert "run: warning: the judge [fails]\n" in written(progress)
