"""Starts the models that only answer: the reference, a teacher, reward models that score samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from actors.frozen import FrozenActor, SharedBaseActor
from actors.group import FrozenGroup, ReferenceGroup, RewardModelGroup, TeacherGroup
from rlsys.check.seats import reward_seats
from rlsys.config.actors import ReferenceConfig, RewardModelConfig, TeacherConfig
from rlsys.config.experiment import Experiment
from rlsys.models.load import load_config
from rlsys.models.reward_scale import read_scale
from rlsys.rewards.with_models import Member
from rlsys.side_by_side import side_by_side

Seats = Callable[[str, type, Mapping[str, str], Sequence[tuple[Any, ...]]], list[Any]]
"""As of `spawn_judge`."""
FrozenConfig = ReferenceConfig | TeacherConfig | RewardModelConfig
GroupT = TypeVar("GroupT", bound=FrozenGroup)


@dataclass(frozen=True)
class FrozenStarter:
    experiment: Experiment
    policy: Path
    """Its starting weights."""
    path: Callable[[str | None], Path]
    """Where a model of the config lies."""
    seats: Seats

    def reference(self) -> ReferenceGroup:
        config, path = self.experiment.reference, self.path(self.experiment.reference.path)
        actors = self.actors("reference", config, path, scalar=False)
        return self.started(ReferenceGroup(actors, config.tokens_per_micro_batch, self.timeout, path))

    def teacher(self) -> TeacherGroup:
        config = self.experiment.teacher
        assert config is not None
        path = self.path(config.path)
        # Heads are often wider than the tokenizer, and not all of a family's equally.
        vocabulary = min(load_config(model).get_text_config().vocab_size for model in (self.policy, path))
        actors = self.actors("teacher", config, path, scalar=False)
        return self.started(TeacherGroup(actors, config.tokens_per_micro_batch, self.timeout, config.top_k, vocabulary))

    def members(self) -> list[Member]:
        """Of the reward, one for each reward model, in the config's order."""
        seats = reward_seats(self.experiment)
        started = side_by_side({seat: partial(self.seated, seat, configs) for seat, configs in seats.items()})
        groups = {group.role: group for of_seat in started.values() for group in of_seat}
        return [self.member(config, groups[config.name]) for config in self.experiment.reward_models]

    def seated(self, seat: str, configs: Sequence[RewardModelConfig]) -> list[RewardModelGroup]:
        """The reward models that have this seat."""
        first, base = configs[0], configs[0].base
        if base is None:
            actors = self.actors(seat, first, self.path(first.path), scalar=True)
        else:
            adapters = {one.name: Path(one.path).expanduser().resolve() for one in configs}
            own = (self.experiment.model, first.threads, self.path(base), adapters)
            actors = self.seats(seat, SharedBaseActor, threads(first), [own] * first.ranks)
        groups = [
            RewardModelGroup(one.name, actors, one.tokens_per_micro_batch, self.timeout, among_others=base is not None)
            for one in configs
        ]
        self.started(groups[0])
        for group in groups[1:]:
            group.packed = groups[0].packed
        return groups

    def member(self, config: RewardModelConfig, group: RewardModelGroup) -> Member:
        folder = self.path(config.path) if config.base is None else Path(config.path).expanduser()
        offset, scale = read_scale(folder) if config.normalize else (0.0, 1.0)
        return Member(config.name, config.weight, group, config.ensemble, offset, scale)

    def actors(self, role: str, config: FrozenConfig, path: Path, scalar: bool) -> list[Any]:
        own = (self.experiment.model, config.threads, path, scalar)
        return self.seats(role, FrozenActor, threads(config), [own] * config.ranks)

    @property
    def timeout(self) -> float:
        return self.experiment.loop.timeout

    def started(self, group: GroupT) -> GroupT:
        group.start(self.experiment.cluster.start_timeout)
        return group


def threads(config: FrozenConfig) -> dict[str, str]:
    """Set before any library makes its thread pool."""
    return {"OMP_NUM_THREADS": str(config.threads)}
