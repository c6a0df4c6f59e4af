"""A YAML file with `key=value` overrides, read into a config model. Each mistake is one line: where, which key, what to
do."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from rlsys.config import yaml_file
from rlsys.config.base import Model
from rlsys.config.messages import Problem, explain_error
from rlsys.config.schema import Key, dotted
from rlsys.errors import ConfigError

ModelT = TypeVar("ModelT", bound=Model)


@dataclass(frozen=True, slots=True)
class Override:
    """A setting put over a file's: `text` is `key=value`, `where` what errors call it."""

    text: str
    where: str

    @classmethod
    def typed(cls, text: str, given: str | None = None, by: str = "command line") -> Override:
        """One of the command line, or of whoever else it is `by`; `given`: all that was typed, where `text` is a part
        of it."""
        return cls(text, f"{by} {given or text!r}")


def load_as(
    model: type[ModelT],
    path: Path | str,
    overrides: Sequence[str] = (),
    check: Callable[[ModelT], Iterable[Problem]] | None = None,
) -> ModelT:
    """Read, override and validate any other config model; `check` finds what is wrong with one whose types are right.
    Raises ConfigError as `load` does."""
    return Document.read(Path(path), overrides).validated(model, check)


def save(config: Model, path: Path) -> None:
    """Write the resolved config, defaults included; `load` (or `load_as`) reads it back equal."""
    path.write_text(yaml_file.dump(config.model_dump(mode="json")), encoding="utf-8")


@dataclass(frozen=True, order=True)
class _Origin:
    """Where a value was written. Ordered: overrides first (they were just typed), then by line, then the file as a
    whole."""

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

    @classmethod
    def empty(cls, where: str) -> Document:
        """One that says nothing yet; `where` is blamed for what it lacks."""
        return cls({}, {(): _Origin(float("inf"), where)})

    def put_over(
        self, other: Document, place: Key, suffix: str = "", leave_out: Callable[[str], bool] = lambda _: False
    ) -> None:
        """Put the section at `place` of another document over this one: section by section, each value in the place of
        what was there. `suffix` follows where a value comes from; `leave_out` names keys of the section that are not
        taken."""
        section: Any = other.data
        for part in place:
            section = section.get(part, {}) if isinstance(section, dict) else section[part]
        self._merge(
            self.data, {key: value for key, value in section.items() if not leave_out(key)}, (), other, place, suffix
        )

    def _merge(
        self, into: dict[str, Any], new: dict[str, Any], at: Key, other: Document, place: Key, suffix: str
    ) -> None:
        for name, value in new.items():
            key = (*at, name)
            if isinstance(value, dict) and isinstance(into.get(name), dict):
                self._merge(into[name], value, key, other, place, suffix)
                continue
            into[name] = copy.deepcopy(value)
            for old in [old for old in self.origins if old[: len(key)] == key]:
                del self.origins[old]
            here = (*place, *key)
            found = {inner: origin for inner, origin in other.origins.items() if inner[: len(here)] == here}
            found.setdefault(here, other.origin(here))
            for inner, origin in found.items():
                self.origins[inner[len(place) :]] = replace(origin, text=origin.text + suffix)

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
        config, problems = validate_as(model, self.data, ())
        if config is not None and check is not None:
            problems = [*check(config)]
        if config is None or problems:
            raise ConfigError(self.report(problems))
        return config

    def where(self, key: Key) -> str:
        """Of a section: what was typed in it, if anything was; else its line, or that of the nearest section around
        it."""
        return min(
            (origin for inner, origin in self.origins.items() if inner[: len(key)] == key), default=self.origin(key)
        ).text

    def origin(self, key: Key) -> _Origin:
        """Of the key itself; of a section that overrides made, theirs; else of the nearest section around it."""
        if key not in self.origins and (
            typed := [origin for inner, origin in self.origins.items() if inner[: len(key)] == key]
        ):
            return min(typed)
        while key not in self.origins:
            key = key[:-1]
        return self.origins[key]

    def report(self, problems: Sequence[Problem]) -> str:
        """A line for each key. Unknown ones come first: they often explain the others."""
        ordered = sorted(problems, key=lambda problem: (not problem.unknown_key, self.origin(problem.key)))
        first = {problem.key: problem for problem in reversed(ordered)}
        lines = (
            f"{self.origin(one.key).text}: {dotted(one.key)}: {one.message}" for one in ordered if first[one.key] is one
        )
        return "\n".join(" ".join(line.split()) for line in lines)


def _put(data: Any, key: Key, value: Any, where: str) -> None:
    """Set a nested value in place, making the sections on the way."""
    container = data
    for depth, part in enumerate(key):
        here = dotted(key[:depth])
        last = depth == len(key) - 1
        if isinstance(container, list):
            if not isinstance(part, int) or part >= len(container):
                raise ConfigError(
                    f"{where}: {here} is a list of {len(container)}, numbered from 0; it has no item {part!r}"
                )
            container[part] = value if last else container[part]
            container = container[part]
        elif isinstance(container, dict):
            name = str(part)
            following = None if last else key[depth + 1]
            if isinstance(following, int) and container.get(name) is None:
                raise ConfigError(
                    f"{where}: {dotted(key[: depth + 1])} is not given in the file; give the whole list: "
                    f"{dotted(key[: depth + 1])}=[...]"
                )
            container[name] = value if last else {} if container.get(name) is None else container[name]
            container = container[name]
        else:
            raise ConfigError(
                f"{where}: {here} is {container!r}, not a section; give the whole section: {here}={{...}}"
            )


def validate_as(model: type[ModelT], data: Any, key: Key) -> tuple[ModelT | None, list[Problem]]:
    """Strict, as JSON is: a list may fill a tuple and text a path, but the text `2` is no number and 1 is not true."""
    try:
        return model.model_validate_json(json.dumps(data), strict=True), []
    except ValidationError as error:
        found = error.errors()
        places = {detail["loc"][:depth] for detail in found for depth in range(len(detail["loc"]))}
        told = [one for one in found if one["type"] != "too_short" or one["loc"] not in places]  # it counts valid ones
        return None, [explain_error(model, detail, data, key) for detail in told]
