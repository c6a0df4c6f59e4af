"""Elastic weight consolidation: (lambda / 2) sum F (theta - theta*)^2 is added to the loss for each task before, with
theta* its final weights and F the diagonal of its Fisher information (Kirkpatrick et al. 2017, arXiv 1612.00796,
equation 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import PositiveFloat, PositiveInt

from rlsys.config.experiment import Experiment
from rlsys.config.paths import STAGE
from rlsys.continual.base import Against


class Config(Against):
    kind: str = "ewc"
    """This file."""
    strength: PositiveFloat = 1.0
    """The penalty's factor lambda (`ewc.strength`)."""
    samples: PositiveInt = 256
    """Rows that a task's Fisher information is estimated on (`ewc.samples`)."""


def settings(config: Config, earlier: Sequence[Experiment], last: bool) -> dict[str, Any]:
    found: dict[str, Any] = {} if last else {"ewc.samples": config.samples}
    if earlier:
        found |= {"ewc.strength": config.strength, "ewc.of": [f"{STAGE}{one.name}" for one in earlier]}
    return found
