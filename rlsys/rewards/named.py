"""What a config's reward names: a file of this folder, or a module, class or function of the user's own."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rlsys.config.actors import RewardSpec
from rlsys.config.base import Model
from rlsys.errors import ConfigError
from rlsys.registry import resolve
from rlsys.samples import Abstention, Prompt, RewardResult, Score, Trajectory


@dataclass(frozen=True)
class Made:
    """A reward that is ready for samples."""

    score: Callable[[Prompt, Trajectory], Any]
    close: Callable[[], None]


@dataclass(frozen=True)
class RewardSource:
    """Which code a reward is."""

    label: str
    name: str
    file: str | None
    """None where it has none, as a function in C."""
    sha256: str | None
    """Of the file's content; what the file imports is not in it."""


def source_of(spec: RewardSpec, label: str) -> RewardSource:
    """Raises ConfigError."""
    target, _ = _named(spec)
    file = vars(sys.modules[target.__module__]).get("__file__")
    content = None if file is None else hashlib.sha256(Path(file).read_bytes()).hexdigest()
    return RewardSource(label, spec.name, file, content)


def is_own(spec: RewardSpec) -> bool:
    """Whether it is the user's code, which may do anything."""
    return "." in spec.name


def check(spec: RewardSpec) -> None:
    """Raises ConfigError unless the reward exists and takes its args; makes nothing."""
    target, config = _named(spec)
    if config is not None:
        _validated(config, spec)
    elif inspect.isclass(target):
        _check_arguments(spec, target)
    else:
        _check_arguments(spec, target, None, None)


def make(spec: RewardSpec) -> Made:
    """Raises ConfigError."""
    check(spec)
    target, config = _named(spec)
    if config is not None:
        made: Any = target(_validated(config, spec))
    elif inspect.isclass(target):
        made = target(**spec.args)
    else:
        return Made(partial(target, **spec.args) if spec.args else target, lambda: None)
    if not hasattr(made, "score"):
        raise ConfigError(f"reward {spec.name!r}: {type(made).__name__} has no method score(prompt, trajectory)")
    return Made(made.score, made.close if hasattr(made, "close") else lambda: None)


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
