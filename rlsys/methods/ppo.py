"""PPO (Schulman et al. 2017, arXiv 1707.06347) as it is used for feedback on language (Ziegler et al. 2019, arXiv
1909.08593; Stiennon et al. 2020, arXiv 2009.01325).

    r_t    = p_t / p_old_t           reward_t = [t is last] R - kl_coef log(p_old_t / p_ref_t)
    A_t    = whitened sum_l (gamma lambda)^l (reward_{t+l} + gamma V_{t+l+1} - V_{t+l}),      gamma 1, lambda 0.95
    loss   = mean_t -min(r_t A_t, clip(r_t, 0.8, 1.2) A_t),   over all tokens of the step

The critic V learns V_t + A_t (A_t before it is whitened) beside the policy. Four passes over each step's samples. Its
neighbours have no critic: `grpo` compares with a group, `reinforce_pp` with the whole step, both with this surrogate.
"""

from rlsys.methods.policy_gradient.method import PolicyGradient
from rlsys.methods.policy_gradient.settings import preset

Config = preset(
    "ppo",
    group_size=1,
    epochs=4,
    baseline="gae",
    scale="whiten",
    surrogate="token_ratio",
    reduction="token_mean",
    kl_coef=0.05,
    kl_in="reward",
    kl_estimator="k1",
)
Method = PolicyGradient
