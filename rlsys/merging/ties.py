"""TIES: keeps the largest entries of each task vector, elects a sign for each entry, averages the models that have it.

    theta = theta_0 + scale * mean of those w_i trim(theta_i - theta_0) that have the sign of their sum

The mean is disjoint: trimmed entries and those of the other sign are not counted. Yadav et al. 2023, "TIES-Merging",
arXiv 2306.01708. As in peft and mergekit, each tensor is trimmed by itself (the paper trims the model as one vector).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from rlsys.merging.base import Part, TrimmingWay
from rlsys.merging.task_vectors import added, disjoint_mean, largest

if TYPE_CHECKING:
    from torch import Tensor


class Config(TrimmingWay):
    name: str = "ties"
    """This file."""
    density: float = Field(default=0.2, gt=0, le=1)
    """Share of each task vector that is kept."""


def merge(config: Config, base: Tensor, parts: Sequence[Part]) -> Tensor:
    return added(base, parts, largest, disjoint_mean, config.scale)
