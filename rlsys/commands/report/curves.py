"""Which curves a report draws, and what each metric is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any


@dataclass(frozen=True, slots=True)
class Curve:
    """One chart: metrics on one scale. `metrics` are patterns; a metric belongs to the first curve that names it."""

    title: str
    metrics: tuple[str, ...]
    formula: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A curve with its numbers: of each series, its label and a value for each of `steps`, None where there is none."""

    title: str
    formula: str
    steps: Sequence[int]
    series: Sequence[tuple[str, Sequence[float | None]]]
    measured: int
    """Steps that were measured, of which `steps` may be a part."""


CURVES = (
    Curve("Reward", ("reward/mean",), "mean of r_i over the step's scored samples i, r_i = Σ_k weight_k · part_k"),
    Curve(
        "Accuracy",
        ("reward/accuracy", "eval/accuracy*", "eval/pass@*", "eval/maj@*"),
        "share of scored answers i with s_i ≥ evaluation.pass_score; reward/: of the step's training samples, eval/: "
        "of held-out prompts, sampled at the training temperature or greedy",
    ),
    Curve("Held-out reward", ("eval/reward*", "eval/win_rate*"), "mean of r_i over held-out answers with a reward"),
    Curve("Held-out loss", ("eval/nll*", "eval/loss*"), "mean over held-out rows; nll: -log π(x_t) per token, nats"),
    Curve(
        "KL per token",
        ("train/kl", "train/approx_kl"),
        "mean over trained tokens of k3 = exp(-d) - 1 + d, nats; kl: d = log π(x) - log π_ref(x); approx_kl: "
        "d = log π_old(x) - log π(x)",
    ),
    Curve(
        "KL per response",
        ("train/kl_per_response", "eval/kl*"),
        "mean over responses of Σ_t log π(x_t) - log π_ref(x_t), nats",
    ),
    Curve("Entropy", ("train/entropy",), "mean over trained tokens of -Σ_v π(v) log π(v), nats"),
    Curve("Response length", ("rollout/response_length_*",), "sampled tokens of a response: mean and longest"),
    Curve("Ended by itself", ("rollout/stopped_rate",), "share of responses that end before the limit of tokens"),
    Curve(
        "Mismatch of sampler and trainer",
        ("train/sampler_mismatch*", "train/sampler_kl", "sync/probe_gap"),
        "over trained tokens: mean and max of |log π_trainer(x) - log π_sampler(x)|; sampler_kl: mean of k3; "
        "probe_gap: max of the same difference on the probe after each sync; nats",
    ),
    Curve(
        "Throughput",
        ("rollout/tokens_per_second", "train/tokens_per_second"),
        "rollout/: response tokens / seconds of collect; train/: tokens of the batch / seconds of learn",
    ),
    Curve(
        "Loss",
        ("train/loss", "train/policy_loss", "train/value_loss"),
        "what the method minimises, reduced over the whole batch: docs/algorithms.md has the formula of each method",
    ),
    Curve("Gradient norm", ("train/grad_norm*",), "‖g‖₂ before clipping: mean and max of the step's updates"),
    Curve("Learning rate", ("train/learning_rate",), "mean over the step's updates"),
    Curve("Clipped", ("train/clip_fraction_*",), "share of trained tokens whose ratio π / π_old is clipped"),
    Curve("Equal groups", ("reward/equal_groups_rate",), "share of groups whose rewards are equal and teach nothing"),
    Curve("Abstained", ("reward/abstained", "eval/abstained*"), "samples without a reward; they are in no mean"),
    Curve("Parts of the reward", ("reward/*",), "mean of each part over the step's samples that have it"),
    Curve("Other held-out measures", ("eval/*",), "of a part of the reward: its mean over held-out answers"),
    Curve("Seconds of a step", ("time/*",), "wall-clock seconds of each part of the step"),
)
NOT_DRAWN = ("reward/std", "eval/score_*")


def charts(metrics: Sequence[Mapping[str, Any]], most: int) -> list[Chart]:
    """Of each curve that the run has numbers for: at most so many steps, evenly spaced, the last among them."""
    return [
        chart
        for curve, names in of_curves({name for record in metrics for name in record}).items()
        if (chart := _chart(curve, names, metrics, most)).series
    ]


def of_curves(metrics: set[str]) -> dict[Curve, list[str]]:
    """Each curve that has a metric, with its metrics, in the order of `CURVES`."""
    found: dict[Curve, list[str]] = {}
    left = {name for name in metrics if not any(fnmatchcase(name, pattern) for pattern in NOT_DRAWN)}
    for curve in CURVES:
        own = [name for pattern in curve.metrics for name in sorted(left) if fnmatchcase(name, pattern)]
        left -= {*own}
        if own:
            found[curve] = list(dict.fromkeys(own))
    return found


def _chart(curve: Curve, names: Sequence[str], metrics: Sequence[Mapping[str, Any]], most: int) -> Chart:
    records = [record for record in metrics if any(record.get(name) is not None for name in names)]
    kept = thinned(records, most)
    series = [(name, [record.get(name) for record in kept]) for name in names]
    return Chart(
        curve.title,
        curve.formula,
        [record["step"] for record in kept],
        [(name, values) for name, values in series if any(value is not None for value in values)],
        len(records),
    )


def thinned(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many, evenly spaced, the first and the last among them."""
    if len(items) <= most:
        return [*items]
    return [items[round(place * (len(items) - 1) / (most - 1))] for place in range(most)]
