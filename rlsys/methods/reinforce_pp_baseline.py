"""REINFORCE++ with baseline (Hu et al. 2025, arXiv 2501.03262): the group's mean is taken off, then the whole step is
normalised.

    A_i  = (a_i - mean a) / std a,   a_i = R_i - mean_j R_j,   mean_j over the group, mean and std over all tokens
    loss = mean_t [ -min(r_t A_i, clip(r_t, 0.8, 1.2) A_i) + kl_coef k2(p_t, p_ref_t) ],   r_t = p_t / p_old_t

Unlike `grpo` it does not divide by each group's own deviation, which is small where a prompt is easy or hard, and its
mean is over tokens; unlike `reinforce_pp` the KL is a term of the loss, by k2, whose gradient is that of the KL.
"""

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
