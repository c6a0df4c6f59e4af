"""SAPO: a soft gate in place of hard clipping, which closes faster for negative advantages (Gao et al. 2025, arXiv
2511.20347)."""

from rlsys.methods.policy_gradient.method import PolicyGradient
from rlsys.methods.policy_gradient.settings import preset

Config = preset(
    "sapo",
    mini_batches=4,
    baseline="group_mean",
    scale="group_std",
    surrogate="sapo",
    tau_positive=1.0,
    tau_negative=1.05,
    reduction="sequence_mean",
)
Method = PolicyGradient
