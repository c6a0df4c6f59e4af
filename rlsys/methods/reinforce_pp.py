"""REINFORCE++ (Hu et al. 2025, arXiv 2501.03262): PPO's clipped surrogate and its KL penalty per token, without a
critic.

    reward_t = [t is last] R - kl_coef log(p_old_t / p_ref_t)
    A_t  = (G_t - mean G) / std G,   G_t = sum_{s >= t} reward_s,   mean and std over all tokens of the step
    loss = mean_t -min(r_t A_t, clip(r_t, 0.8, 1.2) A_t),   r_t = p_t / p_old_t,   over all tokens

One answer per prompt does, as nothing is compared within a group. `ppo` has a critic in the place of the mean;
`reinforce_pp_baseline` takes off the group's mean first.
"""

from rlsys.methods.policy_gradient.method import PolicyGradient
from rlsys.methods.policy_gradient.settings import preset

Config = preset(
    "reinforce_pp",
    group_size=1,
    mini_batches=4,
    baseline="batch_mean",
    scale="whiten",
    surrogate="token_ratio",
    reduction="token_mean",
    kl_coef=0.01,
    kl_in="reward",
    kl_estimator="k1",
)
Method = PolicyGradient
