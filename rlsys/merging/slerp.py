"""SLERP: goes from one model to another on the arc between them, not on the chord, so that the norm does not shrink.

    theta = sin((1 - t) a) / sin(a) theta_1 + sin(t a) / sin(a) theta_2,    a the angle between theta_1 and theta_2

t is the second model's share of the two weights. Shoemake 1985, "Animating rotation with quaternion curves". Each
tensor is one vector. Where two are nearly parallel, sin(a) is nearly 0 and the chord is taken: (1 - t) theta_1 +
t theta_2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from pydantic import Field

from rlsys.merging.base import Part, Way

if TYPE_CHECKING:
    from torch import Tensor


class Config(Way):
    name: str = "slerp"
    """This file."""
    parallel: float = Field(default=0.9995, gt=0, le=1)
    """From this absolute cosine on, two vectors count as parallel."""

    def refusal(self, weights: Sequence[float]) -> str | None:
        if len(weights) != 2:
            return f"slerp goes from one model to another, so it takes 2, and there are {len(weights)}"
        if min(weights) < 0 or sum(weights) == 0:
            return "the weights of slerp are shares, and can't be negative or both 0"
        return None


def merge(config: Config, base: Tensor, parts: Sequence[Part]) -> Tensor:
    first, second = parts
    share = second.weight / (first.weight + second.weight)
    one, other = first.tensor, second.tensor
    norms = float(torch.linalg.vector_norm(one)) * float(torch.linalg.vector_norm(other))
    cosine = float((one * other).sum()) / norms if norms else 1.0
    if abs(cosine) >= config.parallel:
        return torch.lerp(one, other, share)
    angle = math.acos(cosine)
    return (math.sin((1 - share) * angle) * one + math.sin(share * angle) * other) / math.sin(angle)
