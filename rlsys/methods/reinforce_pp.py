"""REINFORCE++: PPO's clipped surrogate and KL penalty per token without a critic; advantages are normalised over the
whole step (Hu et al. 2025, arXiv 2501.03262)."""

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
