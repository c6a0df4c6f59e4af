"""cDPO: DPO where a share e of the labels is believed to be wrong (Mitchell 2023, "A note on DPO with noisy
preferences").

    loss = (1 - e) L(y_w, y_l) + e L(y_l, y_w),   L as in `dpo`, e = label_smoothing

The gap that it aims at is finite: log((1 - e) / e) / beta. `robust_dpo` weighs the same two terms so that the
expectation is the clean loss.
"""

from typing import ClassVar

from pydantic import NonNegativeFloat

from rlsys.methods.shared.preference_training import PairSettings, PreferenceTraining
from rlsys.objectives.preference_loss import PreferenceKind


class Config(PairSettings):
    name: str = "cdpo"
    """This file."""
    KIND: ClassVar[PreferenceKind] = "cdpo"
    label_smoothing: NonNegativeFloat = 0.1
    """The share of labels that is believed to be wrong, above 0 and below 0.5."""


Method = PreferenceTraining
