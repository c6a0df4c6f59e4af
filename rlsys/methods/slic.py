"""SLiC: a hinge in the place of DPO's sigmoid (Zhao et al. 2023, arXiv 2305.10425; on log-ratios as in Liu et al. 2023,
arXiv 2309.06657).

    loss = max(0, 1 - beta [log p(y_w|x)/p_ref(y_w|x) - log p(y_l|x)/p_ref(y_l|x)])

A pair that wins by enough has no gradient, where `dpo` goes on pushing it.
"""

from typing import ClassVar

from rlsys.methods.shared.preference_training import PairSettings, PreferenceTraining
from rlsys.objectives.preference_loss import PreferenceKind


class Config(PairSettings):
    name: str = "slic"
    """This file."""
    KIND: ClassVar[PreferenceKind] = "slic"


Method = PreferenceTraining
