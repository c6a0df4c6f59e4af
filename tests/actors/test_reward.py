import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import ray

from actors.reward import CALLS_PER_ACTOR, GROUPS_PER_CALL, RewardActor, RewardHandle
from rlsys.config.actors import RewardSpec, ScoringConfig
from rlsys.errors import ActorError, ConfigError
from rlsys.rewards.own import PackedGroup
from rlsys.samples import UNSAMPLED, Abstention, Group, Prompt, Score, Trajectory

EXACT = RewardSpec(name="exact_match")
SCORING = ScoringConfig(timeout=20)


def group(number: int, *responses: str, answer: str | None = "right") -> Group:
    name = f"train:{number}"
    samples = tuple(
        Trajectory(f"{name}/{i}", name, i, [1, 2], [0, 1], [0.0, -0.5], [UNSAMPLED, 0], "stop", response)
        for i, response in enumerate(responses)
    )
    return Group(Prompt(name, "q", (1,), answer), samples)


def test_each_sample_keeps_its_own_result():
    actor = RewardActor([EXACT], SCORING)
    results = actor.score(
        [
            PackedGroup.of(one)
            for one in (
                group(0, "right", "wrong"),
                group(1),
                group(2, "wrong", "right", "right"),
                group(3, "right", answer=None),
            )
        ]
    )
    assert [[result.value for result in own if isinstance(result, Score)] for own in results] == [
        [1, 0],
        [],
        [0, 1, 1],
        [],
    ]
    assert results[3] == (Abstention("exact_match: the prompt has no ground truth"),)


@pytest.mark.engine
def test_groups_are_scored_while_they_arrive_and_a_death_is_reported(ray_session: None):
    remote = ray.remote(num_cpus=0)(RewardActor)
    actors: list[Any] = [
        remote.options(name=f"reward-{i}", namespace="test_reward").remote([EXACT], SCORING) for i in range(2)
    ]
    handle = RewardHandle(actors, timeout=60)
    total, taken, between = 200, 0, []

    def arriving() -> Iterator[Group]:
        nonlocal taken
        for number in range(total):
            taken += 1
            yield group(number, "right" if number % 3 else "wrong", "wrong")

    seen: dict[str, list[float]] = {}
    for scored in handle.score(arriving()):
        between.append(taken - len(seen))
        assert scored.prompt.prompt_id not in seen
        seen[scored.prompt.prompt_id] = scored.scores
    assert seen == {f"train:{number}": [float(number % 3 > 0), 0.0] for number in range(total)}
    assert max(between) <= (2 * CALLS_PER_ACTOR + 1) * GROUPS_PER_CALL, "what is in between is bounded"

    broken = RewardHandle([remote.remote([RewardSpec(name="exact")], SCORING)], timeout=60)
    with pytest.raises((ActorError, ConfigError), match="exact_match"):
        list(broken.score([group(0, "right")]))

    os.kill(ray.get(actors[0].__ray_call__.remote(lambda _: os.getpid()), timeout=30), signal.SIGKILL)
    with pytest.raises(ActorError, match=r"reward-0|RewardActor"):
        list(handle.score(arriving()))
    for actor in actors:
        ray.kill(actor)
