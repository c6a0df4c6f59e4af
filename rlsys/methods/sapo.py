"""SAPO, soft adaptive policy optimisation (Gao et al. 2025, arXiv 2511.20347): `grpo` with a soft gate in the place of
the clip.

    A_i  = (R_i - mean_j R_j) / (std_j R_j + 1e-4)
    loss = mean_i mean_t -f(r_t) A_i,   f(r) = 4 / tau sigmoid(tau (r - 1)),   r_t = p_t / p_old_t

The gradient's weight 4 s (1 - s), s = sigmoid(tau (r - 1)), is 1 where r is 1 and fades on both sides. It fades faster
for negative advantages (tau 1.05) than for positive ones (1.0). No KL, and four updates per step.
"""

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
