"""ORPO, odds ratio preference optimisation (Hong et al. 2024, arXiv 2403.07691, equations 6 and 7). It needs no
reference.

    loss = -log p(y_w|x) - beta log sigmoid(log odds(y_w|x) - log odds(y_l|x)),   odds = p / (1 - p), p = exp(mean token
    log-prob)

Imitation and preference in one: its first term is `sft`'s. beta is the paper's lambda.
"""

from typing import ClassVar

from rlsys.methods.shared.preference_training import PairSettings, PreferenceTraining
from rlsys.objectives.preference_loss import PreferenceKind


class Config(PairSettings):
    name: str = "orpo"
    """This file."""
    KIND: ClassVar[PreferenceKind] = "orpo"


Method = PreferenceTraining
