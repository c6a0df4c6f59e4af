"""ReST-EM (Singh et al. 2023, arXiv 2312.06585): `rft` iterated. Sampling from the newest model is the E step, training
the base model anew on what was right, and on nothing else, the M step.

    D_t = {(x, y): y ~ p_t(. | x), r(x, y) = 1},   p_{t+1} = argmax_p sum_{D_t} log p(y | x), started from the base
    model

The paper's numbers are the defaults: 32 samples a prompt, of which up to 10 different right ones are kept, without a
look at their paths.
"""

from typing import Literal

from pydantic import PositiveInt

from rlsys.methods.shared.rejection import PathSettings, Rejection


class Config(PathSettings):
    name: str = "rest_em"
    """This file."""
    samples: PositiveInt = 32
    """Samples per prompt (and round)."""
    most_per_prompt: PositiveInt = 10
    """Most rows of one prompt, so that easy prompts don't drown hard ones."""
    choose: Literal["different", "first"] = "first"
    """Which texts to keep where there are more: those that differ most from each other, or the first ones."""


Method = Rejection
