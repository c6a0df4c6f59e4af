"""Nothing: each task goes on with the model of the task before, on its own rows alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rlsys.config.experiment import Experiment
from rlsys.continual.base import Against


class Config(Against):
    kind: str = "none"
    """This file."""


def settings(config: Config, earlier: Sequence[Experiment], last: bool) -> dict[str, Any]:
    return {}
