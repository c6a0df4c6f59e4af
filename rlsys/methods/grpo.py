"""GRPO: the advantage relative to a group of answers to one prompt, no critic (Shao et al. 2024, DeepSeekMath, arXiv
2402.03300, section 4.1). The KL of the paper (0.04) is off by default, as in most later work."""

from rlsys.methods.policy_gradient.method import PolicyGradient
from rlsys.methods.policy_gradient.settings import preset

Config = preset(
    "grpo",
    baseline="group_mean",
    scale="group_std",
    surrogate="token_ratio",
    reduction="sequence_mean",
    kl_in="loss",
    kl_estimator="k3",
)
Method = PolicyGradient
