"""Estimators of KL(policy || reference) from one token drawn from the policy (Schulman, "Approximating KL Divergence",
2020).

With x ~ policy and d = log policy(x) - log reference(x):

    k1 = d                 unbiased, can be negative, high variance
    k2 = d^2 / 2           biased, never negative, low variance
    k3 = exp(-d) - 1 + d   unbiased, never negative, low variance

As a *value* (a penalty in the reward, a metric) k1 and k3 estimate the KL. As a term of the *loss*, on-policy, the
gradients' expectations differ: k1's is zero (it only adds noise), k2's is the gradient of KL(policy || reference), k3's
that of KL(reference || policy).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from torch import Tensor

KlName = Literal["k1", "k2", "k3"]
KlEstimator = Callable[["Tensor", "Tensor"], "Tensor"]
"""(policy log-probs, reference log-probs) -> estimates, all of one shape, nats."""


def k1(log_probs: Tensor, reference_log_probs: Tensor) -> Tensor:
    return log_probs - reference_log_probs


def k2(log_probs: Tensor, reference_log_probs: Tensor) -> Tensor:
    return (log_probs - reference_log_probs).square() / 2


def k3(log_probs: Tensor, reference_log_probs: Tensor) -> Tensor:
    log_ratio = log_probs - reference_log_probs
    return torch.expm1(-log_ratio) + log_ratio


KL_ESTIMATORS: dict[KlName, KlEstimator] = {"k1": k1, "k2": k2, "k3": k3}


def adapted(coefficient: float, measured: float, target: float, horizon: float, samples: int) -> float:
    """The KL coefficient after `samples` further samples, whose KL was `measured` (nats per response, as is `target`).

        coefficient x (1 + clip(measured / target - 1, -0.2, 0.2) x samples / horizon)

    The controller of Ziegler et al. 2019 (arXiv 1909.08593, section 2.2), with its horizon in samples. ValueError
    unless the coefficient is not negative, the target positive, the measured KL finite and the horizon above samples /
    5, below which one step could make the coefficient negative.
    """
    if not (coefficient >= 0 and target > 0):
        raise ValueError(
            f"the KL coefficient must be at least 0 and its target above 0, not {coefficient} and {target}"
        )
    if not horizon > 0.2 * samples:
        raise ValueError(
            f"a KL horizon of {horizon} samples is too short for steps of {samples}: make it longer than a fifth of a "
            "step"
        )
    if not math.isfinite(measured):
        raise ValueError(f"the measured KL is {measured}: the coefficient can't be adapted to it")
    error = min(max(measured / target - 1, -0.2), 0.2)
    return coefficient * (1 + error * samples / horizon)
