"""ReMax: REINFORCE with the reward of the greedy answer as its baseline (Li et al. 2023, arXiv 2310.10505)."""

from rlsys.methods.policy_gradient.method import PolicyGradient
from rlsys.methods.policy_gradient.settings import preset

Config = preset(
    "remax",
    group_size=1,
    baseline="greedy",
    surrogate="reinforce",
    reduction="sequence_sum",
    kl_coef=0.05,
    kl_in="reward",
    kl_estimator="k1",
)
Method = PolicyGradient
