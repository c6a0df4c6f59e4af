"""GSPO: ratios of whole sequences (their geometric mean over tokens), clipped within a few ten-thousandths (Zheng et
al. 2025, arXiv 2507.18071)."""

from rlsys.methods.policy_gradient.method import PolicyGradient
from rlsys.methods.policy_gradient.settings import preset

Config = preset(
    "gspo",
    mini_batches=4,
    baseline="group_mean",
    scale="group_std",
    surrogate="sequence_ratio",
    clip_low=0.0003,
    clip_high=0.0004,
    reduction="sequence_mean",
)
Method = PolicyGradient
