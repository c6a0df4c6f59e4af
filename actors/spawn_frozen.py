"""Starts the models that only answer: the reference, a teacher, reward models that score samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from actors.frozen import FrozenActor
from actors.group import FrozenGroup, ReferenceGroup, RewardModelGroup, TeacherGroup
from rlsys.check.seats import reward_seat
from rlsys.config.actors import ReferenceConfig, RewardModelConfig, TeacherConfig
from rlsys.config.experiment import Experiment
from rlsys.models.load import load_config
from rlsys.models.reward_scale import read_scale
from rlsys.rewards.with_models import Member
from rlsys.side_by_side import side_by_side

Seats = Callable[[str, type, Mapping[str, str], Sequence[tuple[Any, ...]]], list[Any]]
"""As of `spawn_judge`."""
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
        """Of the reward, one for each reward model."""
        models = self.experiment.reward_models
        return [*side_by_side({config.name: partial(self.member, config) for config in models}).values()]

    def member(self, config: RewardModelConfig) -> Member:
        path = self.path(config.path)
        actors = self.actors(reward_seat(config), config, path, scalar=True)
        group = self.started(RewardModelGroup(config.name, actors, config.tokens_per_micro_batch, self.timeout))
        offset, scale = read_scale(path) if config.normalize else (0.0, 1.0)
        return Member(config.name, config.weight, group, config.ensemble, offset, scale)

    def actors(
        self, role: str, config: ReferenceConfig | TeacherConfig | RewardModelConfig, path: Path, scalar: bool
    ) -> list[Any]:
        own = (self.experiment.model, config.threads, path, scalar)
        return self.seats(role, FrozenActor, {"OMP_NUM_THREADS": str(config.threads)}, [own] * config.ranks)

    @property
    def timeout(self) -> float:
        return self.experiment.loop.timeout

    def started(self, group: GroupT) -> GroupT:
        group.start(self.experiment.cluster.start_timeout)
        return group
