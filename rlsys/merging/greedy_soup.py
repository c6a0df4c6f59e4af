"""The greedy soup: models join the mean in the order of their own held-out scores, each only if the mean with it is no
worse.

Recipe 1 of Wortsman et al. 2022, "Model soups", arXiv 2203.05482. It costs a measurement of each model and of each mean
that is tried: 2 n - 1 of n models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rlsys.merging.base import Part, Way
from rlsys.merging.linear import mean
from rlsys.merging.soup import UNEQUAL

if TYPE_CHECKING:
    from torch import Tensor


class Config(Way):
    measures: ClassVar[bool] = True

    name: str = "greedy_soup"
    """This file."""

    def refusal(self, weights: Sequence[float]) -> str | None:
        return UNEQUAL if set(weights) != {1.0} else None


@dataclass(frozen=True, slots=True)
class Tried:
    """A mean that was measured."""

    models: tuple[int, ...]
    score: float
    kept: bool
    """Whether the soup went on from it."""


def ingredients(count: int, measure: Callable[[tuple[int, ...]], float]) -> tuple[tuple[int, ...], list[Tried]]:
    """Which of `count` models make the soup, best first, and all that was tried. `measure` says how good the mean of
    the models with these numbers is: the higher, the better."""
    alone = [measure((number,)) for number in range(count)]
    first, *others = sorted(range(count), key=lambda number: -alone[number])
    chosen, best = (first,), alone[first]
    tried = [Tried((number,), alone[number], number == first) for number in range(count)]
    for number in others:
        together = (*chosen, number)
        score = measure(together)
        tried.append(Tried(together, score, score >= best))
        if score >= best:
            chosen, best = together, score
    return chosen, tried


def merge(config: Config, base: Tensor, parts: Sequence[Part]) -> Tensor:
    return mean(parts, normalize=True)
