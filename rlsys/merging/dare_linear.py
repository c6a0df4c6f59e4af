"""DARE: drops entries of each task vector at random, rescales the rest, and adds up.

    theta = theta_0 + scale * sum_i w_i m_i (theta_i - theta_0) / density,    m_i ~ Bernoulli(density)

The paper calls p = 1 - density the drop rate. Yu et al. 2024, "Language models are super Mario", arXiv 2311.03099.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from rlsys.merging.base import Part, TrimmingWay
from rlsys.merging.task_vectors import added, random, total

if TYPE_CHECKING:
    from torch import Tensor


class Config(TrimmingWay):
    name: str = "dare_linear"
    """This file."""
    density: float = Field(default=0.5, gt=0, le=1)
    """Share of each task vector that is kept."""


def merge(config: Config, base: Tensor, parts: Sequence[Part]) -> Tensor:
    return added(base, parts, random, total, config.scale)
