"""YAML and `key=value` overrides to a frozen `Experiment`. Each thing that is wrong is one line: where, which key, what to do."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from rlsys import registry
from rlsys.config import checks, yaml_file
from rlsys.config.base import Model
from rlsys.config.machine import machine_problems
from rlsys.config.messages import Problem, explain_error
from rlsys.config.models import Experiment
from rlsys.config.schema import Key, dotted
from rlsys.errors import ConfigError

ModelT = TypeVar("ModelT", bound=Model)

PACKAGES = {"algorithm": "rlsys.algorithms", "stage": "rlsys.stages"}
"""Which folder the name in a section refers to."""


@dataclass(frozen=True, slots=True)
class Override:
    """A setting put over a file's: `text` is `key=value`, `where` what errors call it."""

    text: str
    where: str

    @classmethod
    def typed(cls, text: str, given: str | None = None, by: str = "command line") -> Override:
        """One of the command line, or of whoever else it is `by`; `given`: all that was typed, where `text` is a part of it."""
        return cls(text, f"{by} {given or text!r}")


def load(
    path: Path | str,
    overrides: Sequence[str | Override] = (),
    *,
    by: str = "command line",
    this_machine: bool = True,
    check: Callable[[Experiment], Iterable[Problem]] = lambda _: (),
) -> Experiment:
    """Read, override, validate. `algorithm` or `stage` of the result is the `Config` of the file that it names.

    Overrides are `policy.ranks=2`, `rewards.0.weight=2`, `model.lora={rank: 8}`, `stage=null`: dotted keys, values in YAML; errors in them are said
    to be `by` this. `this_machine` also checks files, CPUs and GPUs; leave it out to read a config that another machine will run, or has run.
    `check` finds what else is wrong.

    Raises ConfigError with one line for each problem.
    """
    document = Document.read(Path(path), overrides, by)
    experiment, problems = _validate(document.data)
    if experiment is not None and not problems:
        problems = [*checks.combinations(experiment), *(machine_problems(experiment) if this_machine else []), *check(experiment)]
    if problems or experiment is None:
        raise ConfigError(document.report(problems))
    return experiment


def load_as(
    model: type[ModelT], path: Path | str, overrides: Sequence[str] = (), check: Callable[[ModelT], Iterable[Problem]] | None = None
) -> ModelT:
    """Read, override and validate any other config model; `check` finds what is wrong with one whose types are right. Raises ConfigError as `load`
    does."""
    return Document.read(Path(path), overrides).validated(model, check)


def save(config: Model, path: Path) -> None:
    """Write the resolved config, defaults included; `load` (or `load_as`) reads it back equal."""
    path.write_text(yaml_file.dump(config.model_dump(mode="json")), encoding="utf-8")


@dataclass(frozen=True, order=True)
class _Origin:
    """Where a value was written. Ordered: overrides first (they were just typed), then by line, then the file as a whole."""

    order: float
    text: str


@dataclass
class Document:
    """What a file and its overrides say, and where."""

    data: dict[str, Any]
    origins: dict[Key, _Origin]

    @classmethod
    def read(cls, path: Path, overrides: Sequence[str | Override] = (), by: str = "command line") -> Document:
        data, lines = yaml_file.read(path)
        origins = {key: _Origin(line, f"{path}:{line}") for key, line in lines.items()}
        document = cls(data, origins | {(): _Origin(float("inf"), str(path))})
        for override in overrides:
            document.override(Override.typed(override, by=by) if isinstance(override, str) else override)
        return document

    def override(self, override: Override) -> None:
        where, (name, equals, value) = override.where, override.text.partition("=")
        if not equals or not all(name.strip().split(".")):
            raise ConfigError(f"{where}: wanted key=value, as in policy.ranks=2")
        key: Key = tuple(int(part) if part.isdecimal() else part for part in name.strip().split("."))
        _put(self.data, key, yaml_file.parse_value(value, where), where)
        for old in [old for old in self.origins if old[: len(key)] == key]:
            del self.origins[old]
        self.origins[key] = _Origin(-1, where)

    def validated(self, model: type[ModelT], check: Callable[[ModelT], Iterable[Problem]] | None = None) -> ModelT:
        """As `load_as`."""
        config, problems = _check(model, self.data, ())
        if config is not None and check is not None:
            problems = [*check(config)]
        if config is None or problems:
            raise ConfigError(self.report(problems))
        return config

    def where(self, key: Key) -> str:
        """Of a section: what was typed in it, if anything was; else its line, or that of the nearest section around it."""
        return min((origin for inner, origin in self.origins.items() if inner[: len(key)] == key), default=self.origin(key)).text

    def origin(self, key: Key) -> _Origin:
        """Of the key itself; of a section that overrides made, theirs; else of the nearest section around it."""
        if key not in self.origins and (typed := [origin for inner, origin in self.origins.items() if inner[: len(key)] == key]):
            return min(typed)
        while key not in self.origins:
            key = key[:-1]
        return self.origins[key]

    def report(self, problems: Sequence[Problem]) -> str:
        """A line for each key. Unknown ones come first: they often explain the others."""
        ordered = sorted(problems, key=lambda problem: (not problem.unknown_key, self.origin(problem.key)))
        first = {problem.key: problem for problem in reversed(ordered)}
        lines = (f"{self.origin(one.key).text}: {dotted(one.key)}: {one.message}" for one in ordered if first[one.key] is one)
        return "\n".join(" ".join(line.split()) for line in lines)


def _put(data: Any, key: Key, value: Any, where: str) -> None:
    """Set a nested value in place, making the sections on the way."""
    container = data
    for depth, part in enumerate(key):
        here = dotted(key[:depth])
        last = depth == len(key) - 1
        if isinstance(container, list):
            if not isinstance(part, int) or part >= len(container):
                raise ConfigError(f"{where}: {here} is a list of {len(container)}, numbered from 0; it has no item {part!r}")
            container[part] = value if last else container[part]
            container = container[part]
        elif isinstance(container, dict):
            name = str(part)
            following = None if last else key[depth + 1]
            if isinstance(following, int) and container.get(name) is None:
                raise ConfigError(
                    f"{where}: {dotted(key[: depth + 1])} is not given in the file; give the whole list: {dotted(key[: depth + 1])}=[...]"
                )
            container[name] = value if last else {} if container.get(name) is None else container[name]
            container = container[name]
        else:
            raise ConfigError(f"{where}: {here} is {container!r}, not a section; give the whole section: {here}={{...}}")


def _validate(data: dict[str, Any]) -> tuple[Experiment | None, list[Problem]]:
    """The experiment with its algorithm or stage resolved, and everything found wrong (then it may be None)."""
    experiment, problems = _check(Experiment, data, ())
    given = [name for name in PACKAGES if data.get(name) is not None]
    if len(given) != 1:
        state = "both are given; keep one" if given else "neither is given"
        problems.append(Problem((given[-1] if given else "algorithm",), f"wanted exactly one of algorithm and stage: {state}"))
    for name in given:
        config, found = _resolve(PACKAGES[name], "Algorithm", data[name], (name,))
        problems += found
        if experiment is not None and config is not None:
            experiment = experiment.model_copy(update={name: config})
    rewards = data.get("rewards")
    for index, spec in enumerate(rewards if isinstance(rewards, list) else []):
        problems += _reward_problems(spec, ("rewards", index))
    return experiment, problems


def _check(model: type[ModelT], data: Any, key: Key) -> tuple[ModelT | None, list[Problem]]:
    """Strict, as JSON is: a list may fill a tuple and text a path, but the text `2` is no number and 1 is not true."""
    try:
        return model.model_validate_json(json.dumps(data), strict=True), []
    except ValidationError as error:
        return None, [explain_error(model, detail, data, key) for detail in error.errors()]


def _resolve(package: str, attribute: str, data: Any, key: Key) -> tuple[Model | None, list[Problem]]:
    if not isinstance(data, dict) or not isinstance(data.get("name"), str):
        known, near = ", ".join(registry.names(package, attribute)), registry.nearest("name", data if isinstance(data, dict) else ())
        typo = [Problem((*key, near), "unknown key; did you mean name?", unknown_key=True)] if near not in (None, "name") else []
        missing = f"required key is missing: the name of a file in {package} ({known}) or a dotted path"
        return None, [*typo, Problem((*key, "name"), missing)]
    try:
        registry.resolve(package, data["name"], attribute)
        model = registry.resolve(package, data["name"], "Config")
    except ConfigError as error:
        return None, [Problem((*key, "name"), str(error))]
    if not (inspect.isclass(model) and issubclass(model, Model)):
        return None, [Problem((*key, "name"), f"Config of {data['name']!r} must be a subclass of rlsys.config.base.Model")]
    return _check(model, data, key)


def _reward_problems(spec: Any, key: Key) -> list[Problem]:
    """A reward's name and, where it declares a `Config`, its args."""
    if not isinstance(spec, dict) or not isinstance(spec.get("name"), str):
        return []  # reported already, as the wrong type
    try:
        registry.resolve("rlsys.rewards", spec["name"], "Reward")
        model = registry.resolve("rlsys.rewards", spec["name"], "Config")
    except ConfigError as error:
        return [Problem((*key, "name"), str(error))]
    if not (inspect.isclass(model) and issubclass(model, Model)):
        return []  # the name ends in a function or class of the user's own, which checks its arguments itself
    args = spec.get("args", {})
    return _check(model, args, (*key, "args"))[1] if isinstance(args, dict) else []
