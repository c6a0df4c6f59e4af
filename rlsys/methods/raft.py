"""RAFT, reward-ranked fine-tuning (Dong et al. 2023, arXiv 2304.06767), which is best-of-n as data: also the rejection
sampling of Llama 3.

    D' = {(x, argmax_{y_1..y_k ~ p(. | x)} r(x, y_i))},   then SFT on D', and again from the newest model

Unlike `rft` it needs no right or wrong: any reward ranks.
"""

from typing import ClassVar, Literal

from rlsys.methods.shared.rejection import Rejection, RejectionSettings


class Config(RejectionSettings):
    KEEP: ClassVar[Literal["correct", "best"]] = "best"
    name: str = "raft"
    """This file."""


Method = Rejection
