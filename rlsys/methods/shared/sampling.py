"""What every loop with sampling does: sample and score groups, and measure them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import fmean, stdev
from typing import TypeVar

import torch

from rlsys.config.sampling import Sampling
from rlsys.errors import RlsysError
from rlsys.judging.auditing.quality import judge_metrics
from rlsys.objectives.length_penalty import soft_overlong
from rlsys.roles import Roles
from rlsys.samples import Abstention, Group, Prompt, RewardResult, Score, ScoredGroup, Trajectory

GroupT = TypeVar("GroupT", bound=Group)


UNSCORED = Abstention("no reward was asked for")
"""Of samples in a run that scores none."""


def collect_groups(roles: Roles, prompts: Sequence[Prompt], sampling: Sampling, tag: str) -> list[ScoredGroup]:
    """Sample and score `prompts`, scoring while sampling goes on. In the prompts' order, whichever group finished
    first. Without a reward role all are `UNSCORED`.

    Raises RlsysError when not a single sample could be scored: nothing could be learned, and going on would hide why.
    """
    assert roles.rollout is not None, "sampling needs a rollout role"
    sampled = roles.rollout.generate(prompts, sampling, tag)
    if roles.reward is None:
        unscored = (
            ScoredGroup(group.prompt, group.trajectories, (UNSCORED,) * len(group.trajectories)) for group in sampled
        )
        return in_order(prompts, unscored)
    groups = in_order(prompts, roles.reward.score(sampled))
    if groups and not any(group.scores for group in groups):
        raise none_of(
            "samples could be scored",
            tag,
            [result.reason for group in groups for result in group.results if isinstance(result, Abstention)],
        )
    return groups


def in_order(prompts: Sequence[Prompt], groups: Iterable[GroupT]) -> list[GroupT]:
    """The groups of `prompts`, of each one, in the prompts' order."""
    arrived = list(groups)
    by_prompt = {(group.prompt.prompt_id, group.prompt.epoch): group for group in arrived}
    assert len(by_prompt) == len(arrived) == len(prompts), f"{len(prompts)} prompts gave {len(arrived)} groups"
    return [by_prompt[prompt.prompt_id, prompt.epoch] for prompt in prompts]


def none_of(what: str, tag: str, reasons: Sequence[str]) -> RlsysError:
    """The error of a step in which nothing came out: nothing could be learned, and going on would hide why."""
    reason, count = Counter(reasons).most_common(1)[0]
    return RlsysError(f"{tag}: none of {len(reasons)} {what}; most often ({count}): {reason}")


def punish_overlong(groups: Sequence[ScoredGroup], max_tokens: int, buffer: int) -> list[ScoredGroup]:
    """Add DAPO's soft overlong penalty to what was scored; abstentions stay abstentions."""

    def punished(group: ScoredGroup) -> ScoredGroup:
        lengths = torch.tensor([trajectory.response_length for trajectory in group.trajectories])
        results = tuple(
            Score(result.value + penalty, result.parts | {"overlong": penalty}) if isinstance(result, Score) else result
            for result, penalty in zip(group.results, soft_overlong(lengths, max_tokens, buffer).tolist(), strict=True)
        )
        return replace(group, results=results)

    return [punished(group) for group in groups]


def scored_samples(groups: Sequence[ScoredGroup]) -> list[Trajectory]:
    """The samples that have a score, in the row order of `ScoredBatch.from_groups`."""
    return [
        trajectory
        for group in groups
        for trajectory, result in zip(group.trajectories, group.results, strict=True)
        if isinstance(result, Score)
    ]


def rollout_metrics(groups: Sequence[ScoredGroup]) -> dict[str, float]:
    """Rewards, abstentions, lengths and endings of some groups, and what their judge was like. Means over scored
    samples are left out when there is none."""
    results = [result for group in groups for result in group.results]
    samples = [trajectory for group in groups for trajectory in group.trajectories]
    scores = [score for group in groups for score in group.scores]
    lengths = [sample.response_length for sample in samples]
    metrics = {
        "rollout/samples": float(len(samples)),
        "rollout/tokens": float(sum(lengths)),
        "rollout/response_length_mean": fmean(lengths),
        "rollout/response_length_max": float(max(lengths)),
        "rollout/stopped_rate": fmean(sample.finish_reason == "stop" for sample in samples),
        "rollout/unknown_tokens": float(sum(sample.unknown_tokens for sample in samples)),
    }
    if all(result == UNSCORED for result in results):
        return metrics
    metrics |= {
        "reward/abstained": float(sum(isinstance(result, Abstention) for result in results)),
        "reward/equal_groups_rate": fmean(len(set(group.scores)) <= 1 for group in groups),
    }
    if scores:
        metrics |= {"reward/mean": fmean(scores), "reward/std": stdev(scores) if len(scores) > 1 else 0.0}
    verdicts = [verdict for group in groups for verdict in group.verdicts]
    return metrics | {f"reward/{name}": mean for name, mean in mean_parts(results).items()} | judge_metrics(verdicts)


def mean_parts(results: Iterable[RewardResult]) -> dict[str, float]:
    """Mean of each part of the reward over the samples that have it."""
    values: dict[str, list[float]] = {}
    for result in results:
        for name, value in result.parts.items() if isinstance(result, Score) else ():
            values.setdefault(name, []).append(value)
    return {name: fmean(values[name]) for name in sorted(values)}
