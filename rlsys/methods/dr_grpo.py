"""Dr. GRPO (Liu et al. 2025, arXiv 2503.20783): `grpo` without its two divisions.

    A_i  = R_i - mean_j R_j
    loss = sum_i sum_t -min(r_t A_i, clip(r_t, 0.8, 1.2) A_i) / (answers x sampling.max_tokens),   r_t = p_t / p_old_t

The division by a group's deviation gives more weight to prompts that are easy or hard for the model, the division by an
answer's length less to each token of a long wrong answer; here every token counts alike, whatever its answer's length.
"""

from rlsys.methods.policy_gradient.method import PolicyGradient
from rlsys.methods.policy_gradient.settings import preset

Config = preset(
    "dr_grpo",
    baseline="group_mean",
    scale="none",
    surrogate="token_ratio",
    reduction="constant",
)
Method = PolicyGradient
