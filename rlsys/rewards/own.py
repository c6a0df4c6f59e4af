"""Rewards of the user's own, in processes that can be killed: code that nobody here wrote may hang, crash, take all
memory, or end its process."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rlsys.config.actors import RewardSpec, ScoringConfig
from rlsys.errors import ConfigError
from rlsys.rewards.named import as_result, check, source_of
from rlsys.samples import Abstention, Group, RewardResult, Score
from rlsys.workers.pool import START_LIMIT, CallFailed, Raised, StartFailed, TimeOver, Worker, WorkerPool

GIB = 1 << 30


@dataclass(frozen=True)
class PackedGroup:
    """A group on its way to the rewards: pickled once, by who sends it, and read where it is scored. Its numbers, four
    a token, would otherwise be pickled and read at every stop."""

    content: bytes
    sample_ids: tuple[str, ...]

    @classmethod
    def of(cls, group: Group) -> PackedGroup:
        return cls(pickle.dumps(group), tuple(sample.sample_id for sample in group.trajectories))

    @cached_property
    def group(self) -> Group:
        return pickle.loads(self.content)


Place = tuple[PackedGroup, int]
"""A sample: the group that it is in, and its index there."""


class OwnReward:
    """The handle of one such reward. Each process makes it anew, so that what it remembers, it remembers there."""

    def __init__(self, spec: RewardSpec, config: ScoringConfig) -> None:
        """Raises ConfigError for a reward that can't be made."""
        check(spec)
        self._timeout = config.timeout
        memory = None if config.memory_gib is None else int(config.memory_gib * GIB)
        limits = {"memory_limit": memory, "start_limit": max(START_LIMIT, config.timeout)}
        arguments = (spec.model_dump_json(), source_of(spec, spec.name).sha256 or "")
        worker = Worker("rlsys.rewards.own_worker", config.time_limit, arguments, **limits)
        self._pool = WorkerPool(worker, config.processes)
        try:
            self._pool.wait_until_ready()
        except StartFailed as error:
            self._pool.close()
            told = str(error).removeprefix("ConfigError: ")
            raise ConfigError(told if spec.name in told else f"reward {spec.name!r}: {told}") from error

    def score(self, samples: Sequence[Place], until: float) -> list[RewardResult]:
        """In order. A sample that takes too long or twice ends its process is named."""
        answers = self._pool.each([(packed.content, index) for packed, index in samples], until)
        ids = [packed.sample_ids[index] for packed, index in samples]
        return [self._result(*found) for found in zip(ids, answers, strict=True)]

    def close(self) -> None:
        self._pool.close()

    def _result(self, sample_id: str, answer: dict[str, Any] | CallFailed) -> RewardResult:
        match answer:
            case Raised() | StartFailed():
                return Abstention(str(answer))
            case TimeOver():
                return Abstention(f"not scored within {self._timeout:g} s")
            case CallFailed():
                return Abstention(f"sample {sample_id}: {answer}")
            case {"abstain": reason}:
                return Abstention(reason)
        return as_result(Score(answer["value"], answer["parts"]))
