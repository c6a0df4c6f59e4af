"""CISPO: clips the weights of REINFORCE's tokens instead of their updates, so that no token loses its gradient (MiniMax
2025, arXiv 2506.13585). The lower bound is open, as in the paper; the upper one, which it does not give, is ours."""

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
