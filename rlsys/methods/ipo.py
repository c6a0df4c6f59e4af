"""IPO, identity preference optimisation (Azar et al. 2023, arXiv 2310.12036, equation 17).

    loss = ([log p(y_w|x)/p_ref(y_w|x) - log p(y_l|x)/p_ref(y_l|x)] - 1 / (2 beta))^2

A squared distance to a fixed gap: unlike `dpo` it does not drive the gap of a certain pair to infinity. beta is the
paper's tau.
"""

from typing import ClassVar

from rlsys.methods.shared.preference_training import PairSettings, PreferenceTraining
from rlsys.objectives.preference_loss import PreferenceKind


class Config(PairSettings):
    name: str = "ipo"
    """This file."""
    KIND: ClassVar[PreferenceKind] = "ipo"


Method = PreferenceTraining
