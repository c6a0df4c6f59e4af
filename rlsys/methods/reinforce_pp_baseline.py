"""REINFORCE++ with the group's mean as its baseline, and the KL as a term of the loss (Hu et al. 2025, arXiv
2501.03262)."""

from rlsys.methods.policy_gradient.method import PolicyGradient
from rlsys.methods.policy_gradient.settings import preset

Config = preset(
    "reinforce_pp_baseline",
    mini_batches=4,
    baseline="group_mean",
    scale="whiten",
    surrogate="token_ratio",
    reduction="token_mean",
    kl_coef=0.001,
    kl_in="loss",
    kl_estimator="k2",
)
Method = PolicyGradient
