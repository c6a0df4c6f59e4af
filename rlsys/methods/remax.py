"""ReMax (Li et al. 2023, arXiv 2310.10505): REINFORCE, with the reward of the greedy answer to the same prompt as its
baseline.

    A    = R(y) - kl_coef log(p_old(y) / p_ref(y)) - R(greedy answer)
    loss = mean -A log p(y),   log p(y) being the sum over the answer's tokens

It takes one sample and one greedy answer per prompt, where `rloo` takes several samples. No clip: one update per step.
"""

from rlsys.methods.policy_gradient.method import PolicyGradient
from rlsys.methods.policy_gradient.settings import preset

Config = preset(
    "remax",
    group_size=1,
    baseline="greedy",
    surrogate="reinforce",
    reduction="sequence_sum",
    kl_coef=0.05,
    kl_in="reward",
    kl_estimator="k1",
)
Method = PolicyGradient
