"""RFT, rejection sampling fine-tuning (Yuan et al. 2023, arXiv 2308.01825): right answers by different reasoning paths
become data for `sft`.

    D' = {(x, y_i): y_1..y_k ~ p(. | x), r(x, y_i) >= threshold, no two of one path},   then SFT of the base model on D'

Its neighbours: `rest_em` repeats this and takes any different text, `raft` keeps the best of k by a reward.
"""

from rlsys.methods.shared.rejection import PathSettings, Rejection


class Config(PathSettings):
    name: str = "rft"
    """This file."""


Method = Rejection
