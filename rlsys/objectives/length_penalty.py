"""Soft punishment of overlong responses."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def soft_overlong(lengths_B: Tensor, max_length: int, buffer: int) -> Tensor:
    """A penalty in [-1, 0] (DAPO, Yu et al. 2025, arXiv 2503.14476, equation 13), float32 [B].

        0                                           length <= max_length - buffer
        ((max_length - buffer) - length) / buffer   in between
        -1                                          length >= max_length

    `lengths_B` are response lengths in tokens. Add it, times a factor of your choice, to the rewards before advantages
    are taken: a response that ran into the limit (`max_tokens` of the sampling) is then punished, and one that comes
    near it is warned, instead of the reward dropping from one token to the next. ValueError unless 0 < buffer <=
    max_length.
    """
    if not 0 < buffer <= max_length:
        raise ValueError(
            f"the overlong buffer is {buffer} tokens: it must be between 1 and the longest response ({max_length})"
        )
    return ((max_length - buffer - lengths_B).float() / buffer).clamp(-1, 0)
