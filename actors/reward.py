"""Scoring under Ray: actors that hold the rewards, and the handle that a loop sees."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import ray

from actors.wait import fetch
from rlsys.config.actors import RewardSpec, ScoringConfig
from rlsys.errors import WaitTimeout
from rlsys.rewards.composite import WeightedSum
from rlsys.rewards.own import PackedGroup
from rlsys.samples import Group, RewardResult, ScoredGroup

GROUPS_PER_CALL = 8
"""Groups that wait for a free actor are sent together, at most so many."""
CALLS_PER_ACTOR = 2
"""One in work and one waiting at the actor, so that it never idles between calls."""


class RewardActor:
    """Holds one weighted sum of rewards and whatever processes it started."""

    def __init__(self, specs: Sequence[RewardSpec], config: ScoringConfig) -> None:
        self._rewards = WeightedSum(specs, config)

    def score(self, groups: Sequence[PackedGroup]) -> list[tuple[RewardResult, ...]]:
        """In order, of each group one result per trajectory."""
        return self._rewards.score(groups)

    def close(self) -> None:
        self._rewards.close()


class RewardHandle:
    """Implements `rlsys.roles.Reward` with a pool of `RewardActor`s."""

    def __init__(self, actors: Sequence[Any], timeout: float) -> None:
        """`timeout`: seconds until the next call must be answered; at least CALLS_PER_ACTOR times that of the actors,
        which abstain in time."""
        assert actors, "a reward handle needs at least one actor"
        self._actors = list(actors)
        self._timeout = timeout

    def score(self, groups: Iterable[Group]) -> Iterator[ScoredGroup]:
        """Scored groups as they get ready, in any order, while `groups` still arrive. No more of them are taken while
        all actors have their calls and one more call's worth is waiting here.

        Raises ActorError when an actor dies, WaitTimeout at the limit.
        """
        calls = _Calls(self._actors, self._timeout)
        for group in groups:
            calls.waiting.append(group)
            yield from calls.advance(wait=calls.full)
        while calls.running:
            yield from calls.advance(wait=True)


class _Calls:
    """The calls of one `score`: `waiting` groups, `running` calls, `free` places at actors."""

    def __init__(self, actors: Sequence[Any], timeout: float) -> None:
        self.waiting: list[Group] = []
        self.running: dict[Any, tuple[Any, list[Group]]] = {}
        self._free = deque([*actors] * CALLS_PER_ACTOR)
        self._timeout = timeout

    @property
    def full(self) -> bool:
        return not self._free and len(self.waiting) >= GROUPS_PER_CALL

    def advance(self, wait: bool) -> list[ScoredGroup]:
        """Take in a finished call, if there is one or if it has to `wait` for one, and send what waits to the place
        that is free."""
        scored: list[ScoredGroup] = []
        if self.running:
            ready, _ = ray.wait(list(self.running), num_returns=1, timeout=self._timeout if wait else 0)
            if wait and not ready:
                raise WaitTimeout(
                    f"waited {self._timeout:g} s for a reward actor to score {GROUPS_PER_CALL} groups or fewer"
                )
            for call in ready:
                actor, groups = self.running.pop(call)
                self._free.append(actor)
                results = fetch(call, "the rewards of some groups", self._timeout)
                scored += [
                    ScoredGroup(group.prompt, group.trajectories, own)
                    for group, own in zip(groups, results, strict=True)
                ]
        if self._free and self.waiting:
            actor, groups = self._free.popleft(), self.waiting[:GROUPS_PER_CALL]
            self.running[actor.score.remote([PackedGroup.of(group) for group in groups])] = actor, groups
            del self.waiting[:GROUPS_PER_CALL]
        return scored
