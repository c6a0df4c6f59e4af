"""What every loop with sampling does: sample and score groups, and measure them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import fmean, stdev

import torch

from rlsys.batch import Abstention, Prompt, Score, ScoredGroup
from rlsys.errors import RlsysError
from rlsys.objectives.length_penalty import soft_overlong
from rlsys.roles import Roles, Sampling


def collect_groups(roles: Roles, prompts: Sequence[Prompt], sampling: Sampling, tag: str) -> list[ScoredGroup]:
    """Sample and score `prompts`, scoring while sampling goes on. In the prompts' order, whichever group finished first.

    Raises RlsysError when not a single sample could be scored: nothing could be learned, and going on would hide why.
    """
    assert roles.rollout is not None, "sampling needs a rollout role"
    assert roles.reward is not None, "scoring needs a reward role"
    scored = list(roles.reward.score(roles.rollout.generate(prompts, sampling, tag)))
    by_prompt = {(group.prompt.prompt_id, group.prompt.epoch): group for group in scored}
    assert len(by_prompt) == len(scored) == len(prompts), f"{tag}: {len(prompts)} prompts gave {len(scored)} scored groups"
    groups = [by_prompt[prompt.prompt_id, prompt.epoch] for prompt in prompts]
    reasons = Counter(result.reason for group in groups for result in group.results if isinstance(result, Abstention))
    if groups and not any(group.scores for group in groups):
        reason, count = reasons.most_common(1)[0]
        raise RlsysError(f"{tag}: none of {reasons.total()} samples could be scored; most often ({count}): {reason}")
    return groups


def punish_overlong(groups: Sequence[ScoredGroup], max_tokens: int, buffer: int) -> list[ScoredGroup]:
    """Add DAPO's soft overlong penalty to what was scored; abstentions stay abstentions."""

    def punished(group: ScoredGroup) -> ScoredGroup:
        lengths = torch.tensor([trajectory.response_length for trajectory in group.trajectories])
        results = tuple(
            Score(result.value + penalty, result.parts | {"overlong": penalty}) if isinstance(result, Score) else result
            for result, penalty in zip(group.results, soft_overlong(lengths, max_tokens, buffer).tolist(), strict=True)
        )
        return ScoredGroup(group.prompt, group.trajectories, results)

    return [punished(group) for group in groups]


def scored_ids(groups: Sequence[ScoredGroup]) -> list[str]:
    """Sample ids in the row order of `ScoredBatch.from_groups`."""
    return [
        trajectory.sample_id
        for group in groups
        for trajectory, result in zip(group.trajectories, group.results, strict=True)
        if isinstance(result, Score)
    ]


def rollout_metrics(groups: Sequence[ScoredGroup]) -> dict[str, float]:
    """Rewards, abstentions, lengths and endings of some groups. Means over scored samples are left out when there is none."""
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
        "reward/abstained": float(sum(isinstance(result, Abstention) for result in results)),
        "reward/equal_groups_rate": fmean(len(set(group.scores)) <= 1 for group in groups),
    }
    if scores:
        metrics |= {"reward/mean": fmean(scores), "reward/std": stdev(scores) if len(scores) > 1 else 0.0}
    for name in sorted(
        {name for group in groups for result in group.results if not isinstance(result, Abstention) for name in result.parts}
    ):
        metrics[f"reward/{name}"] = fmean(r.parts[name] for r in results if not isinstance(r, Abstention) and name in r.parts)
    return metrics
