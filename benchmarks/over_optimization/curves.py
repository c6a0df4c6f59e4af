"""Curves of proxy and gold over the distance from the policy's start."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Any

import numpy as np

from rlsys.run.folder import RunDir
from rlsys.run.ledger import Ledger
from rlsys.run.metrics import MetricsLog

GOLD, PROXY = "gold", "proxy"
"""What the recipe calls the two among the parts of the reward."""


@dataclass(frozen=True, slots=True)
class Point:
    kl: float
    """KL(policy || SFT policy) of a response, nats."""
    gold: float
    proxy: float
    """In units of gold, see `Scale`."""
    at: int
    """Samples per prompt of best-of-n; step of PPO."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Puts the proxy, whose origin and unit mean nothing, on the axis of gold: over the start's samples both have one
    mean and one standard deviation. `shift` and `factor` are those of proxy = shift + factor * raw."""

    shift: float
    factor: float

    @classmethod
    def of(cls, raw: Sequence[float], gold: Sequence[float]) -> Scale:
        factor = pstdev(gold) / pstdev(raw)
        return cls(fmean(gold) - factor * fmean(raw), factor)

    def __call__(self, raw: float) -> float:
        return self.shift + self.factor * raw


def turning_point(curve: Sequence[Point]) -> Point:
    """Where gold is highest; the first such point."""
    return max(curve, key=lambda point: point.gold)


def frontier_gap(curve: Sequence[Point], other: Sequence[Point]) -> float:
    """Gold of `curve` minus that of `other` at the same KL: mean over those points of `curve` that lie within the KLs
    of `other`, where gold is interpolated linearly. Raises ValueError if none does."""
    known = sorted(other, key=lambda point: point.kl)
    inside = [point for point in curve if known[0].kl <= point.kl <= known[-1].kl]
    if not inside:
        raise ValueError(
            f"the two curves share no KL: {known[0].kl:.3f} to {known[-1].kl:.3f} holds no point of the first one"
        )
    expected = np.interp([point.kl for point in inside], [point.kl for point in known], [point.gold for point in known])
    return fmean(point.gold - float(gold) for point, gold in zip(inside, expected, strict=True))


def best_of_n_kl(n: int) -> float:
    """KL of the best of n samples to a single one, nats: log n - (n - 1) / n. An upper bound where samples can be
    equal."""
    return math.log(n) - (n - 1) / n


def best_of_n(chosen_by: Sequence[float], values: Sequence[float], n: int) -> float:
    """Expected value of that one of n samples which is best by `chosen_by`, from N >= n samples of one prompt.

    The unbiased estimator of Nakano et al. 2021 (arXiv 2112.09332, appendix I), which averages over all subsets of n:
    the sample of rank i (1 is the worst) is the best one of C(i - 1, n - 1) of the C(N, n) subsets. Samples are
    exchangeable, so that ties may be broken by their order.
    """
    total = len(values)
    if not 1 <= n <= total or len(chosen_by) != total:
        raise ValueError(
            f"best of {n} needs as many scores as values, and at least {n}; there are {len(chosen_by)} and {total}"
        )
    ranked = np.asarray(values, dtype=np.float64)[np.argsort(chosen_by, kind="stable")]
    rank = np.arange(total - 1, n - 1, -1)  # from the last but one downwards
    downwards = (
        n / total * np.cumprod([1.0, *((rank + 1 - n) / rank)])
    )  # C(N - 1, n - 1) / C(N, n) = n / N for the best one
    return float(downwards @ ranked[: n - 2 if n > 1 else None : -1])


@dataclass(frozen=True, slots=True)
class Sampled:
    """One prompt's samples at the start."""

    proxy: tuple[float, ...]
    gold: tuple[float, ...]


def read_samples(run: RunDir, steps: int) -> list[Sampled]:
    """Of a sampling run, prompt by prompt. Samples without a score are left out, as everywhere."""
    prompts: dict[str, list[Mapping[str, float]]] = {}
    with Ledger(run.ledger, read_only=True) as ledger:
        for step in range(1, steps + 1):
            for sample in ledger.samples(step, "train"):
                if sample.reward is not None:
                    prompts.setdefault(sample.prompt_id, []).append(sample.reward_parts)
    return [
        Sampled(tuple(parts[PROXY] for parts in own), tuple(parts[GOLD] for parts in own)) for own in prompts.values()
    ]


def best_of_n_curve(prompts: Sequence[Sampled], scale: Scale) -> list[Point]:
    """n doubles from 1 up to the samples of the prompt that has fewest."""
    most = min(len(prompt.gold) for prompt in prompts)
    curve = []
    for n in (2**power for power in range(most.bit_length())):
        gold = fmean(best_of_n(prompt.proxy, prompt.gold, n) for prompt in prompts)
        proxy = fmean(best_of_n(prompt.proxy, prompt.proxy, n) for prompt in prompts)
        curve.append(Point(best_of_n_kl(n), gold, scale(proxy), n))
    return curve


def ppo_curve(run: RunDir, scale: Scale) -> list[Point]:
    """One point for each evaluation of the run, the first of them before any step."""
    records: list[dict[str, Any]] = [record for record in MetricsLog.read(run.metrics) if "eval/kl_sampled" in record]
    return [
        Point(
            record["eval/kl_sampled"],
            record[f"eval/{GOLD}_sampled"],
            scale(record[f"eval/{PROXY}_sampled"]),
            record["step"],
        )
        for record in records
    ]
