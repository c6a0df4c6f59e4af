"""RLOO, REINFORCE leave-one-out (Ahmadian et al. 2024, arXiv 2402.14740): an answer is one action, and is compared with
the other answers to its prompt.

    R_i  = score_i - kl_coef log(p_old(y_i) / p_ref(y_i))
    A_i  = R_i - mean_{j != i} R_j
    loss = mean_i -A_i log p(y_i),   log p(y) being the sum over the answer's tokens

No clip, because there is one update per step. Unlike `grpo` the baseline is unbiased, nothing is divided by a deviation
or a length, and the KL is in the reward; `remax` compares with the greedy answer instead.
"""

from rlsys.methods.policy_gradient.method import PolicyGradient
from rlsys.methods.policy_gradient.settings import preset

Config = preset(
    "rloo",
    group_size=4,
    baseline="leave_one_out",
    surrogate="reinforce",
    reduction="sequence_sum",
    kl_coef=0.03,
    kl_in="reward",
    kl_estimator="k1",
)
Method = PolicyGradient
