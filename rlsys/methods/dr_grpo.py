"""Dr. GRPO: GRPO without the two divisions that favour long wrong answers and easy or hard prompts (Liu et al. 2025,
arXiv 2503.20783)."""

from rlsys.methods.policy_gradient.method import PolicyGradient
from rlsys.methods.policy_gradient.settings import preset

Config = preset(
    "dr_grpo",
    baseline="group_mean",
    scale="none",
    surrogate="token_ratio",
    reduction="constant",
)
Method = PolicyGradient
