"""`python -m benchmarks.own_reward`: what it costs that a reward of one's own runs in processes that can be killed,
when it is as cheap as can be: whole passes through Ray, each way in turn."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import ray

from actors.reward import RewardActor, RewardHandle
from benchmarks.command import run_command
from rlsys.config.actors import RewardSpec, ScoringConfig
from rlsys.rewards.named import make
from rlsys.samples import UNSAMPLED, Group, Prompt, Score, Trajectory

SPEC = RewardSpec(name="benchmarks.own_reward.length")
GROUPS, SIZE, REPEATS = 64, 8, 15
TOKENS = (16, 256, 1024)


def length(prompt: Prompt, trajectory: Trajectory) -> float:
    return float(len(trajectory.text))


class InActor(RewardActor):
    """Scores as if the reward were one of rlsys: in the actor, by threads."""

    def __init__(self) -> None:
        super().__init__([RewardSpec(name="exact_match", label=SPEC.name)], ScoringConfig())
        self._rewards._ours[SPEC.name] = make(SPEC)


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


def timed(handle: RewardHandle, asked: Sequence[Group]) -> float:
    """Seconds."""
    began = time.perf_counter()
    scored = list(handle.score(asked))
    seconds = time.perf_counter() - began
    wanted = [float(len(sample.text)) for group in scored for sample in group.trajectories]
    found = [result.value for group in scored for result in group.results if isinstance(result, Score)]
    assert found == wanted, "both ways give every score"
    return seconds


def main() -> None:
    """Microseconds of one sample in the actor and in a process, and the median of the ratios."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    inside: Any = ray.remote(num_cpus=0)(InActor).remote()
    outside: Any = ray.remote(num_cpus=0)(RewardActor).remote([SPEC], ScoringConfig(processes=2))
    ways = [RewardHandle([actor], timeout=120) for actor in (inside, outside)]
    for tokens in TOKENS:
        asked = groups(tokens)
        for way in ways:
            timed(way, asked)
        pairs = [[timed(way, asked) for way in ways] for _ in range(REPEATS)]
        here, there = (median(column) / (GROUPS * SIZE) * 1e6 for column in zip(*pairs, strict=True))
        ratios = sorted(after / before for before, after in pairs)
        print(
            f"{tokens:5} tokens: {here:6.0f} us in the actor, {there:6.0f} us in a process, "
            f"ratio {median(ratios):.2f} ({ratios[2]:.2f} - {ratios[-3]:.2f})"
        )
    ray.shutdown()


if __name__ == "__main__":
    run_command(main)
