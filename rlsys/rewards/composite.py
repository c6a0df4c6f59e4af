"""The weighted sum of several rewards, computed for many samples at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from itertools import count, islice

from rlsys.config.actors import RewardSpec, ScoringConfig
from rlsys.errors import ConfigError
from rlsys.rewards.named import Made, as_result, is_own, make
from rlsys.rewards.own import OwnReward, PackedGroup, Place
from rlsys.samples import Abstention, RewardResult, Score
from rlsys.workers.serve import in_one_line

THREADS = 16
"""Samples in work at the same time: rewards wait for processes and services rather than compute."""

Results = dict[str, Score]
"""Of one sample, by the name of the reward."""


class WeightedSum:
    """`score` gives one result per sample: sum of weight x value over all rewards, or an abstention as soon as one of
    them abstains.

    A reward's crash, and a result that is no finite number, are abstentions. Rewards of rlsys are called from several
    threads at once; those of the user's own come after them, in processes.
    """

    def __init__(self, specs: Sequence[RewardSpec], config: ScoringConfig) -> None:
        """Raises ConfigError for a reward that can't be made."""
        if not specs:
            raise ConfigError("rewards: none is given, and there is something to score")
        self._timeout = config.timeout
        self._weights: dict[str, float] = {}
        self._ours: dict[str, Made] = {}
        self._own: dict[str, OwnReward] = {}
        try:
            for spec, name in zip(specs, part_names(specs), strict=True):
                self._weights[name] = spec.weight
                if is_own(spec):
                    self._own[name] = OwnReward(spec, config)
                else:
                    self._ours[name] = make(spec)
        except ConfigError:
            self.close()
            raise

    def score(self, groups: Sequence[PackedGroup]) -> list[tuple[RewardResult, ...]]:
        """In order, of each group one result for each sample. What is not done in time is an abstention."""
        until = time.monotonic() + self._timeout
        samples = [(packed, index) for packed in groups for index in range(len(packed.sample_ids))]
        found: list[Results | Abstention] = [Results() for _ in samples]
        if self._ours:
            found = self._by_ours(samples, until)
        for name, reward in self._own.items():
            left = [(index, results) for index, results in enumerate(found) if not isinstance(results, Abstention)]
            scored = reward.score([samples[index] for index, _ in left], until)
            for (index, results), result in zip(left, scored, strict=True):
                found[index] = joined(results, name, result)
        summed = (results if isinstance(results, Abstention) else self._sum(results) for results in found)
        return [tuple(islice(summed, len(packed.sample_ids))) for packed in groups]

    def close(self) -> None:
        """End the processes that rewards started."""
        for reward in (*self._ours.values(), *self._own.values()):
            reward.close()

    def _by_ours(self, samples: Sequence[Place], until: float) -> list[Results | Abstention]:
        """What is not done in time is an abstention; its thread is left behind."""
        done: dict[int, Results | Abstention] = {}
        todo = iter(range(len(samples)))
        lock = threading.Lock()
        late = threading.Event()

        def work() -> None:
            while not late.is_set():
                with lock:
                    index = next(todo, None)
                if index is None:
                    return
                done[index] = self._one_by_ours(*samples[index])

        threads = [
            threading.Thread(target=work, name=f"reward-{i}", daemon=True) for i in range(min(THREADS, len(samples)))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        late.set()
        unfinished = Abstention(f"not scored within {self._timeout:g} s")
        return [done.get(index, unfinished) for index in range(len(samples))]

    def _one_by_ours(self, packed: PackedGroup, index: int) -> Results | Abstention:
        results = Results()
        prompt, trajectory = packed.group.prompt, packed.group.trajectories[index]
        for name, reward in self._ours.items():
            try:
                result = as_result(reward.score(prompt, trajectory))
            except Exception as error:  # noqa: BLE001 - whatever it is, the sample has no score
                result = Abstention(in_one_line(error))
            more = joined(results, name, result)
            if isinstance(more, Abstention):
                return more
            results = more
        return results

    def _sum(self, results: Results) -> Score:
        total, parts = 0.0, {}
        for name, weight in self._weights.items():
            total += weight * results[name].value
            parts[name] = results[name].value
            parts |= {f"{name}.{key}": value for key, value in results[name].parts.items()}
        return Score(total, parts)


def joined(results: Results, name: str, result: RewardResult) -> Results | Abstention:
    return Abstention(f"{name}: {result.reason}") if isinstance(result, Abstention) else {**results, name: result}


def part_names(specs: Sequence[RewardSpec]) -> list[str]:
    """Keys of `Score.parts`, one per reward: its label or name, and `name.2`, `name.3`, ... where it is listed
    again."""
    names: list[str] = []
    for spec in specs:
        name = spec.label or spec.name
        numbered = (f"{name}.{number}" if number > 1 else name for number in count(1))
        names.append(next(name for name in numbered if name not in names))
    return names
