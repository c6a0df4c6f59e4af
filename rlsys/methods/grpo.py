"""GRPO, group relative policy optimisation (Shao et al. 2024, DeepSeekMath, arXiv 2402.03300, section 4.1): PPO's
clipped surrogate, where the mean reward of a group of answers to one prompt takes the place of a critic.

    A_i  = (R_i - mean_j R_j) / (std_j R_j + 1e-4),   for every token of answer i
    loss = mean_i mean_t [-min(r_t A_i, clip(r_t, 0.8, 1.2) A_i) + kl_coef k3(p_t, p_ref_t)],   r_t = p_t / p_old_t

The KL of the paper (0.04) is off by default, as in most later work. Its neighbours: `ppo` has a critic, `rloo` leaves
the answer itself out of the mean, `dr_grpo` divides neither by the deviation nor by the length, `dapo` changes clip,
reduction and sampling, `gspo` the ratio, `cispo` and `sapo` the clip.
"""

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
