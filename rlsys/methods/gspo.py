"""GSPO, group sequence policy optimisation (Zheng et al. 2025, arXiv 2507.18071): `grpo` with one ratio per answer.

    s_i  = (p(y_i) / p_old(y_i))^(1 / |y_i|)                            the geometric mean of the tokens' ratios
    A_i  = (R_i - mean_j R_j) / (std_j R_j + 1e-4)
    loss = mean_i -min(s_i A_i, clip(s_i, 1 - 0.0003, 1 + 0.0004) A_i)

A bound stops the gradient of a whole answer, never of single tokens. The bounds are the paper's, and are so narrow
because a mean ratio moves far less than a token's. No KL, and four updates per step.
"""

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
