"""Estimators of KL(policy || reference) from one token drawn from the policy (Schulman, "Approximating KL Divergence", 2020).

With x ~ policy and d = log policy(x) - log reference(x):

    k1 = d                 unbiased, can be negative, high variance
    k2 = d^2 / 2           biased, never negative, low variance
    k3 = exp(-d) - 1 + d   unbiased, never negative, low variance

As a *value* (a penalty in the reward, a metric) k1 and k3 estimate the KL. As a term of the *loss*, on-policy, the gradients' expectations
differ: k1's is zero (it only adds noise), k2's is the gradient of KL(policy || reference), k3's that of KL(reference || policy).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

KlName = Literal["k1", "k2", "k3"]
KlEstimator = Callable[[Tensor, Tensor], Tensor]
"""(policy log-probs, reference log-probs) -> estimates, all of one shape, nats."""


def k1(log_probs: Tensor, reference_log_probs: Tensor) -> Tensor:
    return log_probs - reference_log_probs


def k2(log_probs: Tensor, reference_log_probs: Tensor) -> Tensor:
    return (log_probs - reference_log_probs).square() / 2


def k3(log_probs: Tensor, reference_log_probs: Tensor) -> Tensor:
    log_ratio = log_probs - reference_log_probs
    return torch.expm1(-log_ratio) + log_ratio


KL_ESTIMATORS: dict[KlName, KlEstimator] = {"k1": k1, "k2": k2, "k3": k3}
