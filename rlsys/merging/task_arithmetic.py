"""Adds weighted task vectors to the base.

    theta = theta_0 + scale * sum_i w_i (theta_i - theta_0)

A negative weight takes a task away. Ilharco et al. 2023, "Editing models with task arithmetic", arXiv 2212.04089.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rlsys.merging.base import Part, Way
from rlsys.merging.task_vectors import added, total, whole

if TYPE_CHECKING:
    from torch import Tensor


class Config(Way):
    name: str = "task_arithmetic"
    """This file."""
    scale: float = 1.0
    """The sum of the weighted task vectors is multiplied by this (lambda) before it is added to the base."""


def merge(config: Config, base: Tensor, parts: Sequence[Part]) -> Tensor:
    return added(base, parts, whole, total, config.scale)
