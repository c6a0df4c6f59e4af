"""Alarms on a run's own metrics: `loop.warn_when` and `loop.stop_when`, each a comparison that a user writes."""

from __future__ import annotations

import difflib
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rlsys.config.alarm import parse
from rlsys.config.experiment import LoopConfig
from rlsys.errors import did_you_mean
from rlsys.run.signals import LATER

WINDOW = 50
"""Earlier values that `z` compares with."""
STOPPED = "loop.stop_when: "
"""How the reason begins that a run ended for."""
FEWEST = 10
"""Without so many there is no `z`."""
RARE = ("faults/", "time/")
"""Of metrics that only some steps have."""
USUAL: tuple[str, ...] = LoopConfig.model_fields["warn_when"].default
"""Alarms that nobody asked for."""
NEAREST = 3
"""Names that are told of a metric that may be misspelt."""
TO_SIGMA = 1.4826
"""The standard deviation of a normal distribution, in units of its median absolute deviation."""


class Alarms:
    """What is asked about every step's metrics. Its `state` belongs into a checkpoint."""

    def __init__(self, warn: Sequence[str], stop: Sequence[str]) -> None:
        """`loop.warn_when` and `loop.stop_when`."""
        self.alarms = {text: parse(text) for text in (*warn, *stop)}
        self.stops = frozenset(stop)
        self.past: dict[str, list[float]] = {alarm.metric: [] for alarm in self.alarms.values() if alarm.robust}
        self.in_a_row: dict[str, int] = {}
        self.seen: set[str] = set()
        self.looked_at = False

    def fired(self, metrics: Mapping[str, float]) -> Iterator[tuple[bool, str]]:
        """Of each alarm that these metrics set off: whether it ends the run, and what is to be said. A metric that is
        not among them is measured in other steps, and one that is no number sets off every alarm on it."""
        for alarm in self.alarms.values():
            value = metrics.get(alarm.metric)
            if value is None:
                continue
            self.seen.add(alarm.metric)
            found = robust_z(value, self.past[alarm.metric]) if alarm.robust else value
            holds = math.isnan(value) or (found is not None and alarm.holds(found))
            self.in_a_row[alarm.text] = self.in_a_row.get(alarm.text, 0) + 1 if holds else 0
            if self.in_a_row[alarm.text] == alarm.steps:
                times = f" {alarm.steps} times in a row" if alarm.steps > 1 else ""
                z = (
                    ""
                    if found is None or not alarm.robust
                    else f", {found:.3g} robust standard deviations from its median"
                )
                yield alarm.text in self.stops, f"{alarm.text}: {alarm.metric} is {value:.4g}{z}{times}"
        for metric, past in self.past.items():
            if metric in metrics and not math.isnan(metrics[metric]):
                past.append(metrics[metric])
                del past[:-WINDOW]

    def stands(self, done: str) -> bool:
        """Whether the reason that a run ended for holds with these alarms: one that was taken away no longer does."""
        return not done.startswith(STOPPED) or any(done.startswith(f"{STOPPED}{text}:") for text in self.stops)

    def doubts(self, step: Mapping[str, float], evaluation: Mapping[str, float]) -> Iterator[str]:
        """Once, after a first step: the alarms that somebody asked for on metrics which neither it nor the latest
        evaluation (empty: there was none) measured, with the nearest names. The name may be misspelt, and a run without
        its alarm is not what was asked for."""
        if self.looked_at:
            return
        self.looked_at = True
        names = sorted({*step, *evaluation, *(LATER if evaluation else ())})
        for alarm in self.alarms.values():
            later = alarm.metric.startswith(RARE) or (alarm.held_out and not evaluation)
            if alarm.metric in names or later or alarm.text in USUAL:
                continue
            close = difflib.get_close_matches(alarm.metric, names, n=NEAREST, cutoff=0.5)
            meant = f"the nearest names are {', '.join(close)}" if close else f"measured are {', '.join(names)}"
            yield f"{alarm.text}: nothing has measured {alarm.metric} so far; {meant}"

    def unseen(self, metrics: Mapping[str, float]) -> list[str]:
        """That a metric never came, of alarms that somebody asked for; `metrics`: some that did."""
        return [
            f"{alarm.text}: no step measured {alarm.metric}{did_you_mean(alarm.metric, metrics)}"
            for alarm in self.alarms.values()
            if alarm.metric not in self.seen and alarm.text not in USUAL
        ]

    def state(self) -> dict[str, Any]:
        return {"past": self.past, "in_a_row": self.in_a_row, "seen": sorted(self.seen)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """An alarm that is new knows nothing of the steps before."""
        self.past |= {metric: list(past) for metric, past in state.get("past", {}).items() if metric in self.past}
        self.in_a_row = dict(state.get("in_a_row", {}))
        self.seen = set(state.get("seen", ()))


def robust_z(value: float, past: Sequence[float]) -> float | None:
    """(value - median) / (1.4826 MAD) of the past values (Iglewicz and Hoaglin 1993, section 3); None where these are
    too few, or more than half of them are equal."""
    if len(past) < FEWEST:
        return None
    middle = statistics.median(past)
    spread = TO_SIGMA * statistics.median(abs(one - middle) for one in past)
    return (value - middle) / spread if spread else None
