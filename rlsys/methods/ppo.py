"""PPO (Schulman et al. 2017, arXiv 1707.06347) as it is used for feedback on language (Ziegler et al. 2019, arXiv
1909.08593; Stiennon et al. 2020, arXiv 2009.01325): a critic, the KL to the reference as a penalty on every token's
reward, several passes over each step's samples."""

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
