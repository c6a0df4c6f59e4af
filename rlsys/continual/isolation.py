"""Isolation: each task has an adapter of its own over the same base, so that nothing is forgotten; which task an input
belongs to must be known. Parameter isolation in the sense of De Lange et al. 2021, arXiv 1909.08383."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from rlsys.config.experiment import Experiment
from rlsys.continual.base import Against


class Config(Against):
    kind: str = "isolation"
    """This file."""

    isolates: ClassVar[bool] = True


def settings(config: Config, earlier: Sequence[Experiment], last: bool) -> dict[str, Any]:
    return {}
