"""What rewards that build on others share: they take scored groups in chunks and add to what is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from rlsys.errors import ConfigError
from rlsys.roles import Reward
from rlsys.samples import Group, Score, ScoredGroup


def chunks(inner: Reward | None, groups: Iterable[Group], size: int) -> Iterator[list[ScoredGroup]]:
    """Groups as `inner` lets them out, `size` at a time as soon as so many have come in. Without `inner` every sample
    starts from 0."""
    scored = iter(inner.score(groups) if inner else map(_from_zero, groups))
    while chunk := list(islice(scored, size)):
        yield chunk


def add(score: Score, name: str, weight: float, value: float, parts: dict[str, float]) -> Score:
    """The score plus weight x value. `parts` gets the unweighted value under `name`, and `parts` of its own as
    `name.KEY`. Raises ConfigError if there is such a part already."""
    own = {name: value, **{f"{name}.{key}": part for key, part in parts.items()}}
    if taken := own.keys() & score.parts.keys():
        raise ConfigError(f"two rewards have the name {min(taken)!r}; give one of them another")
    return Score(score.value + weight * value, score.parts | own)


def _from_zero(group: Group) -> ScoredGroup:
    return ScoredGroup(group.prompt, group.trajectories, tuple(Score(0.0) for _ in group.trajectories))
