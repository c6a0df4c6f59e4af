"""CISPO (MiniMax 2025, MiniMax-M1, arXiv 2506.13585): clips the weights of REINFORCE's tokens instead of their updates,
so that no token loses its gradient.

    A_i  = (R_i - mean_j R_j) / (std_j R_j + 1e-4)
    loss = sum_i sum_t -stop_gradient(min(r_t, 5)) A_i log p_t / sum_i |y_i|,   r_t = p_t / p_old_t

`grpo` and `dapo` give no gradient to a token beyond the clip. The lower bound is open, as in the paper; the upper one,
which the paper does not give, is ours. No KL, and 16 updates per step.
"""

from rlsys.methods.policy_gradient.method import PolicyGradient
from rlsys.methods.policy_gradient.settings import preset

Config = preset(
    "cispo",
    mini_batches=16,
    baseline="group_mean",
    scale="group_std",
    surrogate="cispo",
    clip_low=1.0,
    clip_high=4.0,
    reduction="token_mean",
)
Method = PolicyGradient
