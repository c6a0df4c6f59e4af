"""What a way of merging is: one file of `rlsys/merging`, named in a config as `by: {name: ties, ...}`, that defines
`Config`, its settings, and `merge`, which makes one tensor out of as many as there are models:

    def merge(config: Config, base: Tensor, parts: Sequence[Part]) -> Tensor

All are float32 and of one shape. It sees one tensor at a time, so that a merge needs memory for a few tensors, not for
a few models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rlsys.config.base import Model

if TYPE_CHECKING:
    from torch import Tensor

PACKAGE = "rlsys.merging"


@dataclass(frozen=True, slots=True)
class Part:
    """What one model brings to one tensor."""

    tensor: Tensor
    weight: float
    density: float
    """Share of the task vector that is kept."""
    seed: int
    """Of what is drawn at random for this tensor of this model."""


class Way(Model):
    """The base of every way's `Config`."""

    name: str
    """Name of the way of merging: a file of rlsys/merging, or the dotted path of your own module."""

    trims: ClassVar[bool] = False
    """Whether it reads densities."""
    measures: ClassVar[bool] = False
    """Whether it chooses among the models by what they measure on held-out prompts."""

    def usual_density(self) -> float:
        """Of models that have none of their own."""
        return 1.0

    def refusal(self, weights: Sequence[float]) -> str | None:
        """Why models of these weights can't be merged so; None where they can."""
        return None


class TrimmingWay(Way):
    """The base of those that keep a share of each task vector."""

    trims: ClassVar[bool] = True

    density: float
    """Share of each task vector that is kept."""
    scale: float = 1.0
    """The merged task vector is multiplied by this (lambda) before it is added to the base."""

    def usual_density(self) -> float:
        return self.density
