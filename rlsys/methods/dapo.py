"""DAPO: clip-higher, dynamic sampling, a loss per token, and soft punishment of overlong answers (Yu et al. 2025, arXiv
2503.14476). The paper's last fifth of the length is the punished one."""

from rlsys.methods.policy_gradient.method import PolicyGradient
from rlsys.methods.policy_gradient.settings import preset

Config = preset(
    "dapo",
    group_size=16,
    mini_batches=16,
    baseline="group_mean",
    scale="group_std",
    surrogate="token_ratio",
    clip_low=0.2,
    clip_high=0.28,
    reduction="token_mean",
    equal_groups="resample",
    overlong_share=0.2,
)
Method = PolicyGradient
