"""DAPO (Yu et al. 2025, arXiv 2503.14476): four changes to `grpo`.

    A_i  = (R_i - mean_j R_j) / (std_j R_j + 1e-4)
    loss = sum_i sum_t -min(r_t A_i, clip(r_t, 0.8, 1.28) A_i) / sum_i |y_i|,   r_t = p_t / p_old_t

Clip-higher leaves unlikely tokens room to grow; the mean is over tokens, so that a long answer weighs more than a short
one; groups whose rewards are all equal are replaced by other prompts' (dynamic sampling); an answer that ends in the
last fifth before the token limit loses up to 1 of its R_i. No KL, and 16 updates per step.
"""

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
