"""The uniform soup: the plain mean of models that were trained apart from one base, such as seeds of one run.

Wortsman et al. 2022, "Model soups", arXiv 2203.05482. It is `linear` with equal weights; other weights are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rlsys.merging.base import Part, Way
from rlsys.merging.linear import mean

if TYPE_CHECKING:
    from torch import Tensor

UNEQUAL = "a soup weighs its models alike; leave the weights out, or take by: linear"


class Config(Way):
    name: str = "soup"
    """This file."""

    def refusal(self, weights: Sequence[float]) -> str | None:
        return UNEQUAL if set(weights) != {1.0} else None


def merge(config: Config, base: Tensor, parts: Sequence[Part]) -> Tensor:
    return mean(parts, normalize=True)
