"""The weighted sum of several rewards, computed for many samples at once."""

from __future__ import annotations

import inspect
import itertools
import json
import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from numbers import Real
from typing import Any

from pydantic import ValidationError

from rlsys.config.actors import RewardSpec
from rlsys.config.base import Model
from rlsys.errors import ConfigError
from rlsys.registry import resolve
from rlsys.samples import Abstention, Prompt, RewardResult, Score, Trajectory

THREADS = 16
"""Samples in work at the same time: rewards wait for processes and services rather than compute."""

Sample = tuple[Prompt, Trajectory]


@dataclass(frozen=True)
class Part:
    """One reward of the sum. `name` is its key in `Score.parts`."""

    name: str
    weight: float
    score: Callable[[Prompt, Trajectory], Any]
    close: Callable[[], None]


class WeightedSum:
    """`score` gives one result per sample: sum of weight x value over all rewards, or an abstention as soon as one of
    them abstains.

    A reward's crash, and a result that is no finite number, are abstentions. Rewards are called from several threads at
    once.
    """

    def __init__(self, specs: Sequence[RewardSpec], timeout: float) -> None:
        """`timeout`: seconds for all samples of one call of `score`. Raises ConfigError for a reward that can't be
        made."""
        if not specs:
            raise ConfigError("rewards: none is given, and there is something to score")
        self._timeout = timeout
        self._parts: list[Part] = []
        for spec, name in zip(specs, part_names(specs), strict=True):
            self._parts.append(build(spec, name))

    def score(self, samples: Sequence[Sample]) -> list[RewardResult]:
        """In order. What is not done in time is an abstention; its thread is left behind."""
        done: dict[int, RewardResult] = {}
        todo = iter(range(len(samples)))
        lock = threading.Lock()
        late = threading.Event()

        def work() -> None:
            while not late.is_set():
                with lock:
                    index = next(todo, None)
                if index is None:
                    return
                done[index] = self._score(*samples[index])

        threads = [
            threading.Thread(target=work, name=f"reward-{i}", daemon=True) for i in range(min(THREADS, len(samples)))
        ]
        deadline = time.monotonic() + self._timeout
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        late.set()
        unfinished = Abstention(f"not scored within {self._timeout:g} s")
        return [done.get(index, unfinished) for index in range(len(samples))]

    def close(self) -> None:
        """End the processes that rewards started."""
        for part in self._parts:
            part.close()

    def _score(self, prompt: Prompt, trajectory: Trajectory) -> RewardResult:
        total, parts = 0.0, {}
        for part in self._parts:
            try:
                result = as_result(part.score(prompt, trajectory))
            except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's reward may raise anything
                result = Abstention(f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}")
            if isinstance(result, Abstention):
                return Abstention(f"{part.name}: {result.reason}")
            total += part.weight * result.value
            parts[part.name] = result.value
            parts |= {f"{part.name}.{key}": value for key, value in result.parts.items()}
        return Score(total, parts)


def part_names(specs: Sequence[RewardSpec]) -> list[str]:
    """Keys of `Score.parts`, one per reward: its label or name, and `name.2`, `name.3`, ... where it is listed
    again."""
    names: list[str] = []
    for spec in specs:
        name = spec.label or spec.name
        numbered = (f"{name}.{number}" if number > 1 else name for number in itertools.count(1))
        names.append(next(name for name in numbered if name not in names))
    return names


def as_result(value: Any) -> RewardResult:
    """What a reward returned, as a score or an abstention."""
    if isinstance(value, Abstention):
        return value
    if isinstance(value, Real):
        value = Score(float(value))
    if not isinstance(value, Score):
        return Abstention(f"returned {type(value).__name__}, not a number, Score or Abstention")
    strange = [number for number in (value.value, *value.parts.values()) if not math.isfinite(number)]
    return Abstention(f"returned {strange[0]}") if strange else value


def check(spec: RewardSpec) -> None:
    """Raises ConfigError unless the reward exists and takes its args; makes nothing."""
    target, config = _named(spec)
    if config is not None:
        _validated(config, spec)
    elif inspect.isclass(target):
        _check_arguments(spec, target)
    else:
        _check_arguments(spec, target, None, None)


def build(spec: RewardSpec, name: str) -> Part:
    """The reward that `spec` names: a file of rlsys/rewards, or your own module, class or function. Raises
    ConfigError."""
    check(spec)
    target, config = _named(spec)
    if config is not None:
        made: Any = target(_validated(config, spec))
    elif inspect.isclass(target):
        made = target(**spec.args)
    else:
        return Part(name, spec.weight, partial(target, **spec.args) if spec.args else target, lambda: None)
    if not hasattr(made, "score"):
        raise ConfigError(f"reward {spec.name!r}: {type(made).__name__} has no method score(prompt, trajectory)")
    return Part(name, spec.weight, made.score, made.close if hasattr(made, "close") else lambda: None)


def _named(spec: RewardSpec) -> tuple[Any, type[Model] | None]:
    """What the name stands for, and its `Config` where there is one: a class or function of the user's own has none."""
    target = resolve("rlsys.rewards", spec.name, "Reward")
    config = resolve("rlsys.rewards", spec.name, "Config")
    return target, config if inspect.isclass(config) and issubclass(config, Model) else None


def _validated(config: type[Model], spec: RewardSpec) -> Model:
    try:
        return config.model_validate_json(json.dumps(spec.args), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, ("args", *first["loc"])))
        raise ConfigError(f"reward {spec.name!r}: {key}: {first['msg']}") from error


def _check_arguments(spec: RewardSpec, target: Any, *positional: Any) -> None:
    if not callable(target):
        raise ConfigError(
            f"reward {spec.name!r}: {type(target).__name__} is neither a module with Config and Reward, nor a class, "
            "nor a function"
        )
    with suppress(ValueError):  # a function in C may have no signature
        signature = inspect.signature(target)
        try:
            signature.bind(*positional, **spec.args)
        except TypeError as error:
            wanted = "(prompt, trajectory)" if positional else "()"
            raise ConfigError(f"reward {spec.name!r} does not take {wanted} with args {spec.args}: {error}") from error
