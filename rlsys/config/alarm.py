"""A comparison on a metric, as a user writes it: `train/kl > 0.5`, `z(train/grad_norm) > 8`,
`reward/mean < 0.1 for 3`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
FORM = re.compile(
    rf"(?P<z>z\(\s*)?(?P<metric>[A-Za-z][\w./@-]*)\s*(?(z)\))\s*(?P<compare>[<>]=?)\s*(?P<limit>{NUMBER})"
    r"(?:\s+for\s+(?P<steps>[1-9]\d*))?"
)


@dataclass(frozen=True, slots=True)
class Alarm:
    text: str
    metric: str
    robust: bool
    """Compare not the value, but how many robust standard deviations it lies above the median of the last values."""
    compare: str
    limit: float
    steps: int
    """How often in a row."""

    @property
    def held_out(self) -> bool:
        """Whether only evaluations measure the metric."""
        return self.metric.startswith("eval/")

    def holds(self, value: float) -> bool:
        return COMPARE[self.compare](value, self.limit)


def parse(text: str) -> Alarm:
    """Raises ValueError for anything that is not of the form."""
    found = FORM.fullmatch(text.strip())
    if found is None:
        raise ValueError(
            f"{text!r} is no comparison of a metric with a number; write it as 'train/kl > 0.5', "
            "'z(train/grad_norm) > 8' or 'reward/mean < 0.1 for 3'"
        )
    limit, steps = float(found["limit"]), int(found["steps"] or 1)
    return Alarm(text.strip(), found["metric"], found["z"] is not None, found["compare"], limit, steps)


def _checked(text: str) -> str:
    return parse(text).text


AlarmText = Annotated[str, AfterValidator(_checked)]
