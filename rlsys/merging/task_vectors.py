"""What the ways of merging have in common that add task vectors to the base. They differ in two axes:

| way | what is kept of each task vector | where signs disagree |
|---|---|---|
| task_arithmetic | all | the sum |
| ties | the largest | the mean of those of the elected sign |
| dare_linear | random ones, rescaled | the sum |
| dare_ties | random ones, rescaled | the mean of those of the elected sign |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from rlsys.merging.base import Part

if TYPE_CHECKING:
    from torch import Tensor

Keep = Callable[["Tensor", Part], "Tensor"]
"""What is kept of a task vector; the rest becomes 0."""


def whole(vector: Tensor, part: Part) -> Tensor:
    return vector


def largest(vector: Tensor, part: Part) -> Tensor:
    """Its `density` of largest magnitude, of this tensor by itself, rounded down."""
    from peft.utils.merge_utils import magnitude_based_pruning  # brings transformers

    return vector if part.density == 1 else magnitude_based_pruning(vector, part.density)


def random(vector: Tensor, part: Part) -> Tensor:
    """Each entry with probability `density`, and then divided by it, so that the expectation stays. The same for the
    same seed, whatever was drawn before."""
    from peft.utils.merge_utils import random_pruning

    if part.density == 1:
        return vector
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(part.seed)
        return random_pruning(vector, part.density, rescale=True)


def total(vectors: Tensor) -> Tensor:
    """Sum over models (the first dimension)."""
    return vectors.sum(0)


def disjoint_mean(vectors: Tensor) -> Tensor:
    """At each place the sign of larger total magnitude is elected; the mean of the models whose entry there has it. An
    entry of 0 has no sign and is not counted."""
    from peft.utils.merge_utils import calculate_majority_sign_mask, disjoint_merge

    return disjoint_merge(vectors, calculate_majority_sign_mask(vectors))


def added(base: Tensor, parts: Sequence[Part], keep: Keep, combine: Callable[[Tensor], Tensor], scale: float) -> Tensor:
    """base + scale * combine(weight_i * keep(theta_i - base)). Weights come before signs are elected: a model of weight
    0 has no vote, and one of a negative weight votes for what it takes away."""
    vectors = torch.stack([part.weight * keep(part.tensor - base, part) for part in parts])
    return base + scale * combine(vectors)
