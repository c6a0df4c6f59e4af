"""`python -m benchmarks.own_reward`: what it costs that a reward of one's own runs in processes that can be killed,
when it is as cheap as can be; each way in turn."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

import typer

from actors.reward import GROUPS_PER_CALL
from benchmarks.command import run_command
from rlsys.config.actors import RewardSpec, ScoringConfig
from rlsys.rewards.composite import WeightedSum
from rlsys.rewards.named import make
from rlsys.rewards.own import PackedGroup
from rlsys.samples import UNSAMPLED, Group, Prompt, Trajectory

SPEC = RewardSpec(name="benchmarks.own_reward.length")
GROUPS, SIZE, REPEATS = 64, 8, 40
TOKENS = (16, 256, 1024)


def length(prompt: Prompt, trajectory: Trajectory) -> float:
    return float(len(trajectory.text))


def in_the_actor() -> WeightedSum:
    """As if the reward were one of rlsys: by threads, in the process that asks."""
    rewards = WeightedSum([RewardSpec(name="exact_match", label=SPEC.name)], ScoringConfig())
    rewards._ours[SPEC.name] = make(SPEC)
    return rewards


def groups(tokens: int) -> list[Group]:
    draw = random.Random(0)
    made: list[Group] = []
    for number in range(GROUPS):
        prompt = Prompt(f"train:{number}", "What is asked? " * 10, tuple(range(64)), "42")
        samples = tuple(
            Trajectory(
                f"{number}/{index}",
                prompt.prompt_id,
                index,
                [draw.randrange(100_000) for _ in range(64 + tokens)],
                [0] * 64 + [1] * tokens,
                [0.0] * 64 + [-draw.random() for _ in range(tokens)],
                [UNSAMPLED] * 64 + [7] * tokens,
                "stop",
                "word " * tokens,
            )
            for index in range(SIZE)
        )
        made.append(Group(prompt, samples))
    return made


def timed(rewards: WeightedSum, asked: Sequence[Group]) -> float:
    """Seconds from the groups at the driver to their results in the actor; the way between them is the same."""
    began = time.perf_counter()
    results = []
    for start in range(0, GROUPS, GROUPS_PER_CALL):
        results += rewards.score([PackedGroup.of(group) for group in asked[start : start + GROUPS_PER_CALL]])
    seconds = time.perf_counter() - began
    wanted = [float(len(sample.text)) for group in asked for sample in group.trajectories]
    assert [result.value for own in results for result in own] == wanted, "both ways give every score"
    return seconds


def main() -> None:
    """Microseconds of one sample in the actor and in a process, at best."""
    ways = [in_the_actor(), WeightedSum([SPEC], ScoringConfig())]
    for tokens in TOKENS:
        asked = groups(tokens)
        for way in ways:
            timed(way, asked)
        pairs = [[timed(way, asked) for way in ways] for _ in range(REPEATS)]
        # The best of each: whatever else the machine does only adds to it.
        here, there = (min(column) / (GROUPS * SIZE) * 1e6 for column in zip(*pairs, strict=True))
        typer.echo(
            f"{tokens:5} tokens: {here:4.0f} us a sample in the actor, {there:4.0f} us in a process, "
            f"ratio {there / here:.2f}"
        )
    for way in ways:
        way.close()


if __name__ == "__main__":
    run_command(main)
