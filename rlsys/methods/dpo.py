"""DPO, direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290, equation 7).

    loss = -log sigmoid(beta [log p(y_w|x)/p_ref(y_w|x) - log p(y_l|x)/p_ref(y_l|x)]),   y_w preferred to y_l

No reward model and no sampling: the log-ratio to the reference is the reward. Its neighbours change one thing each:
`ipo` the function of the gap, `cdpo` and `robust_dpo` what is believed of the labels, `slic` the sigmoid, `orpo` and
`simpo` the reference.
"""

from typing import ClassVar

from rlsys.methods.shared.preference_training import PairSettings, PreferenceTraining
from rlsys.objectives.preference_loss import PreferenceKind


class Config(PairSettings):
    name: str = "dpo"
    """This file."""
    KIND: ClassVar[PreferenceKind] = "dpo"


Method = PreferenceTraining
