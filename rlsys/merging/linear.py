"""The weighted mean of the models' weights (`normalize: false`: their weighted sum).

    theta = sum_i w_i theta_i / sum_i w_i

Wortsman et al. 2022, "Model soups", arXiv 2203.05482: with equal weights this is the uniform soup.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rlsys.merging.base import Part, Way

if TYPE_CHECKING:
    from torch import Tensor


class Config(Way):
    name: str = "linear"
    """This file."""
    normalize: bool = True
    """Divide the weights by their sum, so that only their ratios count."""

    def refusal(self, weights: Sequence[float]) -> str | None:
        if self.normalize and sum(weights) == 0:
            return "the weights add up to 0, and their sum divides them; change one, or set by.normalize to false"
        return None


def merge(config: Config, base: Tensor, parts: Sequence[Part]) -> Tensor:
    return mean(parts, normalize=config.normalize)


def mean(parts: Sequence[Part], *, normalize: bool) -> Tensor:
    """The weighted mean, or sum."""
    total = sum(part.weight for part in parts) if normalize else 1.0
    first, *others = parts
    result = first.tensor * (first.weight / total)
    for part in others:
        result.add_(part.tensor, alpha=part.weight / total)
    return result
