"""SimPO, simple preference optimisation (Meng et al. 2024, arXiv 2405.14734, equation 6). It needs no reference.

    loss = -log sigmoid(beta [log p(y_w|x) / |y_w| - log p(y_l|x) / |y_l|] - gamma)

Mean-token log-probs in the place of `dpo`'s log-ratios, and a margin gamma.
"""

from typing import ClassVar

from pydantic import NonNegativeFloat, PositiveFloat

from rlsys.methods.shared.preference_training import PairSettings, PreferenceTraining
from rlsys.objectives.preference_loss import PreferenceKind


class Config(PairSettings):
    name: str = "simpo"
    """This file."""
    KIND: ClassVar[PreferenceKind] = "simpo"
    beta: PositiveFloat = 2.0
    """Factor of the mean-token log-probs, from 2 to 10."""
    gamma: NonNegativeFloat = 1.0
    """Margin by which the better answer must win; the paper takes about half of beta."""


Method = PreferenceTraining
