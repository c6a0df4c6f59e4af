"""Rewards of samples that are each alone in their group."""

from collections.abc import Sequence

from rlsys.rewards.composite import WeightedSum
from rlsys.rewards.own import PackedGroup
from rlsys.samples import Group, Prompt, RewardResult, Trajectory


def one_by_one(rewards: WeightedSum, samples: Sequence[tuple[Prompt, Trajectory]]) -> list[RewardResult]:
    groups = [PackedGroup.of(Group(prompt, (trajectory,))) for prompt, trajectory in samples]
    return [result for (result,) in rewards.score(groups)]
