"""x"""

from __future__ import annotations
from collections.abc import Iterator
from rlsys.config.messages import Problem
from rlsys.config.models import Experiment


def combinations(experiment: Experiment) -> Iterator[Problem]:
    yield from ()


def machine(experiment: Experiment) -> Iterator[Problem]:
    yield from ()
