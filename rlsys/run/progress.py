"""What a person sees of a running loop, and how long each of its parts takes.

Timing works without a display: the loop wraps its verbs in `timed` and asks for `timings`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import fmean
from types import TracebackType
from typing import Literal

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

COLUMNS = {
    "reward": ("reward/mean",),
    "accuracy": ("reward/accuracy",),
    "held-out": ("eval/accuracy_sampled", "eval/accuracy", "eval/reward_sampled"),
    "held-out nll": ("eval/nll",),
    "proxy gap": ("eval/proxy_gap_sampled",),
    "exploits": ("eval/exploits_sampled", "eval/exploits_greedy"),
    "abstained": ("reward/abstained",),
    "loss": ("train/loss",),
    "KL": ("train/kl",),
    "epoch": ("data/epoch",),
    "tokens/s": ("rollout/tokens_per_second", "train/tokens_per_second"),
}
"""Label of each value shown, and its metric, or several of which the first that a run has is taken. A value that it
does not have is left out."""
ETA_STEPS = 10
"""The time left is judged by the mean of so many latest steps, so that a slow first step is soon forgotten."""
PLAIN_SECONDS = 1.0
"""Plain lines come no faster than this; the first and the last always come."""


class Progress:
    """Progress of `steps` steps. Use as a context manager; modes are those of `LoggingConfig.progress`."""

    def __init__(
        self,
        steps: int,
        mode: Literal["auto", "live", "plain", "off"] = "auto",
        title: str = "",
        console: Console | None = None,
    ) -> None:
        self.steps = steps
        self.title = title
        self.console = console or Console()
        self.mode = ("live" if self.console.is_terminal else "plain") if mode == "auto" else mode
        self._step = 0
        self._shown: dict[str, str] = {}
        self._timings: dict[str, float] = {}
        self._durations: deque[float] = deque(maxlen=ETA_STEPS)
        self._running: list[tuple[str, float]] = []
        self._printed = float("-inf")
        self._opened = self._step_started = time.monotonic()
        self._live = (
            Live(get_renderable=self._render, console=self.console, refresh_per_second=4)
            if self.mode == "live"
            else None
        )

    def __enter__(self) -> Progress:
        self._opened = self._step_started = time.monotonic()
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Measure the wall time of a part of the loop; one that is entered several times in a step adds up."""
        started = time.monotonic()
        self._running.append((name, started))
        if self.mode == "plain" and name == "start":  # the longest silence of a run
            self.console.print(Text(f"{self.title}: starting Ray and the actors"))
        try:
            yield
        finally:
            self._running.pop()
            self._timings[name] = self._timings.get(name, 0.0) + time.monotonic() - started

    def timings(self) -> dict[str, float]:
        """Seconds spent in each part since the last `update`, and in all under `step`: what the parts leave of it is
        overhead."""
        return {**self._timings, "step": time.monotonic() - self._step_started}

    def update(self, step: int, values: Mapping[str, float]) -> None:
        """Step number `step` is done: show it with its metrics, and begin to time the next."""
        timings = self.timings()
        if "start" not in timings:  # how long a start takes tells nothing of the steps to come
            self._durations.append(timings["step"])
        self._step = step
        # A metric that is not measured in every step stays in view until it is measured again.
        for label, names in COLUMNS.items():
            if (name := next((name for name in names if name in values), None)) is not None:
                of = f" (step {step})" if name.startswith("eval/") else ""
                self._shown[label] = _number(values[name]) + of
        if not values.get("reward/abstained"):
            self._shown.pop("abstained", None)
        self._shown |= {"stages": "  ".join(f"{name} {_seconds(spent)}" for name, spent in timings.items())}
        self._timings = {}
        self._step_started = now = time.monotonic()
        if self.mode == "plain" and (now - self._printed >= PLAIN_SECONDS or step == self.steps):
            self._printed = now
            self.console.print(
                Text(f"step {step}/{self.steps}  {self._values()}  {self._clock()}  [{self._shown['stages']}]"),
                soft_wrap=True,
            )

    def warn(self, text: str) -> None:
        """A line that must not be missed: in every mode, above the live display."""
        self.console.print(Text(f"{self.title}: warning: {text}"), soft_wrap=True)

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        """The closing table: a result, not progress, so it is printed in every mode."""
        if self._live is not None:
            self._live.stop()
        print_table(self.title, rows, self.console)

    def _values(self) -> str:
        return "  ".join(f"{label} {self._shown[label]}" for label in COLUMNS if label in self._shown)

    def _clock(self) -> str:
        left = self.steps - self._step
        eta = f"  ETA {_clock_time(fmean(self._durations) * left)}" if self._durations and left else ""
        return f"elapsed {_clock_time(time.monotonic() - self._opened)}{eta}"

    def _render(self) -> Group:
        now = "".join(f"  now: {name} {_seconds(time.monotonic() - started)}" for name, started in self._running[-1:])
        head = Table.grid(padding=(0, 2))
        head.add_row(
            Text(self.title, style="bold"),
            ProgressBar(total=self.steps, completed=self._step, width=30),
            Text(f"step {self._step}/{self.steps}"),
            Text(self._clock() + now),
        )
        return Group(head, Text(self._values(), style="cyan"), Text(self._shown.get("stages", ""), style="dim"))


def print_line(text: str) -> None:
    Console(stderr=True).print(Text(text), soft_wrap=True)


def print_table(
    title: str, rows: Sequence[Sequence[str]], console: Console | None = None, head: Sequence[str] = ()
) -> None:
    """Rows of cells under a title, and under a head where there is one."""
    table = Table(*head, title=title or None, show_header=bool(head))
    for row in rows:
        table.add_row(*(Text(cell, overflow="fold") for cell in row))
    (console or Console()).print(table)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _seconds(value: float) -> str:
    return f"{value:.1f}s" if value >= 0.95 else f"{value * 1000:.0f}ms"


def _clock_time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
