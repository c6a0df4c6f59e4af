"""Robust DPO: an unbiased estimate of DPO's loss under labels of which a share e is wrong (Chowdhury et al. 2024, arXiv
2403.00409, equation 12).

    loss = [(1 - e) L(y_w, y_l) - e L(y_l, y_w)] / (1 - 2 e),   L as in `dpo`, e = label_smoothing

`cdpo` adds the second term where this one subtracts it.
"""

from typing import ClassVar

from pydantic import NonNegativeFloat

from rlsys.methods.shared.preference_training import PairSettings, PreferenceTraining
from rlsys.objectives.preference_loss import PreferenceKind


class Config(PairSettings):
    name: str = "robust_dpo"
    """This file."""
    KIND: ClassVar[PreferenceKind] = "robust_dpo"
    label_smoothing: NonNegativeFloat = 0.1
    """The share of labels that is believed to be wrong, above 0 and below 0.5."""


Method = PreferenceTraining
