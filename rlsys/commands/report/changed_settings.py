"""What of a config is no default, and in what several configs differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

from rlsys.check.load import load
from rlsys.config.base import Model
from rlsys.run.changes import flat
from rlsys.run.folder import RunDir, recipe_folder

NAMES = ("name", "output")
"""Settings that say where a run lies and not what it does."""
ABSENT = "(not given)"


def from_defaults(run: RunDir) -> list[tuple[str, str, str]]:
    """Key, value and default of each setting whose value is not its default; `required` where it has none. Raises
    ConfigError for a config that this version, or this machine without the run's own code, can't read."""
    return [*_differing(load(run.config, this_machine=False, check=lambda _: ()), "")]


def _differing(model: Model, key: str, base: Model | None = None) -> Iterator[tuple[str, str, str]]:
    """`base`: the section as it is by default, where that is more than the defaults of its fields."""
    for name, info in type(model).model_fields.items():
        own = info.get_default(call_default_factory=True, validated_data={})
        value, default = getattr(model, name), own if base is None else getattr(base, name)
        here = f"{key}.{name}" if key else name
        if value == default:
            continue
        if isinstance(value, Model):
            yield from _differing(value, here, default if isinstance(default, type(value)) else None)
        elif isinstance(value, tuple) and value and all(isinstance(item, Model) for item in value):
            for index, item in enumerate(value):
                yield from _differing(item, f"{here}.{index}")
        else:
            yield here, shown(_plain(value)), "required" if default is PydanticUndefined else shown(_plain(default))


def _plain(value: Any) -> Any:
    """As it is saved."""
    if isinstance(value, Model):
        return value.model_dump(mode="json")
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def between(configs: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Of flat configs: each key in which they differ, with the value of each."""
    keys = dict.fromkeys(key for config in configs for key in config)
    rows = [(key, *(config.get(key, ABSENT) for config in configs)) for key in keys]
    return [(key, *map(shown, values)) for key, *values in rows if any(value != values[0] for value in values)]


def comparable(run: RunDir, config: Mapping[str, Any]) -> dict[str, Any]:
    """The flat config without `NAMES`, and with what lies in the run's recipe named from there: two runs of one recipe
    differ in nothing."""
    recipe = recipe_folder(run)
    inside = f"{recipe}/" if recipe else None
    return {
        key: f"stage:{value.removeprefix(inside)}" if inside and str(value).startswith(inside) else value
        for key, value in flat(config).items()
        if key not in NAMES
    }


def shown(value: Any) -> str:
    """Text as it is, anything else as JSON, which is YAML on one line."""
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
