"""RLOO: REINFORCE on whole answers, each compared with the mean of the others to its prompt (Ahmadian et al. 2024,
arXiv 2402.14740)."""

from rlsys.methods.policy_gradient.method import PolicyGradient
from rlsys.methods.policy_gradient.settings import preset

Config = preset(
    "rloo",
    group_size=4,
    baseline="leave_one_out",
    surrogate="reinforce",
    reduction="sequence_sum",
    kl_coef=0.03,
    kl_in="reward",
    kl_estimator="k1",
)
Method = PolicyGradient
