"""Rewards of the user's own, in processes that can be killed: code that nobody here wrote may hang, crash, take all
memory, or end its process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rlsys.config.actors import RewardSpec, ScoringConfig
from rlsys.errors import ConfigError
from rlsys.rewards.named import as_result, check, source_of
from rlsys.samples import Abstention, Prompt, RewardResult, Score, Trajectory
from rlsys.workers.pool import START_LIMIT, CallFailed, Raised, StartFailed, TimeOver, Worker, WorkerPool

GIB = 1 << 30


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

    def score(self, samples: Sequence[tuple[Prompt, Trajectory]], until: float) -> list[RewardResult]:
        """In order. A sample that takes too long or twice ends its process is named."""
        answers = self._pool.each(samples, until)
        return [self._result(trajectory, answer) for (_, trajectory), answer in zip(samples, answers, strict=True)]

    def close(self) -> None:
        self._pool.close()

    def _result(self, trajectory: Trajectory, answer: dict[str, Any] | CallFailed) -> RewardResult:
        match answer:
            case Raised() | StartFailed():
                return Abstention(str(answer))
            case TimeOver():
                return Abstention(f"not scored within {self._timeout:g} s")
            case CallFailed():
                return Abstention(f"sample {trajectory.sample_id}: {answer}")
            case {"abstain": reason}:
                return Abstention(reason)
        return as_result(Score(answer["value"], answer["parts"]))
