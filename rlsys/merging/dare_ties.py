"""DARE with TIES: drops entries of each task vector at random, rescales the rest, elects a sign for each entry, and
averages the models that have it.

    theta = theta_0 + scale * mean of those w_i m_i (theta_i - theta_0) / density that have the sign of their sum

m_i ~ Bernoulli(density). Yu et al. 2024, arXiv 2311.03099, over Yadav et al. 2023, arXiv 2306.01708.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from rlsys.merging.base import Part, TrimmingWay
from rlsys.merging.task_vectors import added, disjoint_mean, random

if TYPE_CHECKING:
    from torch import Tensor


class Config(TrimmingWay):
    name: str = "dare_ties"
    """This file."""
    density: float = Field(default=0.5, gt=0, le=1)
    """Share of each task vector that is kept."""


def merge(config: Config, base: Tensor, parts: Sequence[Part]) -> Tensor:
    return added(base, parts, random, disjoint_mean, config.scale)
