"""Alarms on a run's own metrics: `loop.warn_when` and `loop.stop_when`, each a comparison that a user writes."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rlsys.config.alarm import parse
from rlsys.config.experiment import LoopConfig
from rlsys.errors import did_you_mean

WINDOW = 50
"""Earlier values that `z` compares with."""
STOPPED = "loop.stop_when: "
"""How the reason begins that a run ended for."""
FEWEST = 10
"""Without so many there is no `z`."""
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

    def unseen(self, metrics: Mapping[str, float]) -> list[str]:
        """That a metric never came, of alarms that somebody asked for; `metrics`: some that did."""
        usual = LoopConfig.model_fields["warn_when"].default
        return [
            f"{alarm.text}: no step measured {alarm.metric}{did_you_mean(alarm.metric, metrics)}"
            for alarm in self.alarms.values()
            if alarm.metric not in self.seen and alarm.text not in usual
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
