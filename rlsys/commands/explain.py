"""What every key means: its type, default and description, from the models themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from pydantic.fields import FieldInfo

from rlsys import registry
from rlsys.check.renamed import new_key
from rlsys.config import schema
from rlsys.config.base import Model
from rlsys.config.continual import ContinualConfig
from rlsys.config.experiment import Experiment
from rlsys.errors import ConfigError, nearest
from rlsys.serving.router import RouterConfig

FOLDERS = (
    ("method", "rlsys.methods", "Method"),
    ("rewards.args", "rlsys.rewards", "Reward"),
    ("model.adapter", "rlsys.models.adapters", "Adapter"),
    ("method.by", "rlsys.merging", "merge"),
    ("continual.against", "rlsys.continual", "settings"),
)
"""Sections whose keys each file of a folder declares."""


@dataclass(frozen=True)
class Entry:
    """One key. `file` is the method or reward that has it, or None for keys of every experiment. `others`: of other
    files, which mean the same by it."""

    key: str
    file: str | None
    info: FieldInfo
    others: tuple[Entry, ...] = ()

    def __str__(self) -> str:
        files = [str(entry.file) for entry in (self, *self.others)]
        of = f"  (of {', '.join(files)})" if self.file else ""
        return f"{self.key}{of}\n    {schema.wanted(self.info)}; {self._defaults()}\n    {self.info.description}"

    def _defaults(self) -> str:
        """The most frequent one, and those of the files that differ."""
        defaults = [entry._default() for entry in (self, *self.others)]
        usual = max(defaults, key=defaults.count)
        different = [
            f"{entry.file} {own.removeprefix('default: ')}"
            for entry, own in zip((self, *self.others), defaults, strict=True)
            if own != usual
        ]
        return f"{usual} ({', '.join(different)})" if different else usual

    def _default(self) -> str:
        if self.info.is_required():
            return "required"
        value = self.info.get_default(call_default_factory=True)
        return "default: that of each key" if isinstance(value, Model) else f"default: {_as_yaml(value)}"


def explain(key: str = "") -> list[Entry]:
    """The entries that `key` names: a key, a section (with the keys in it), or the last part of a key. Without a key,
    the top level.

    List indices are skipped: `rewards.0.weight` is `rewards.weight`. Raises ConfigError, with the nearest key, when
    there is none.
    """
    everything = list(entries())
    wanted = ".".join(part for part in key.split(".") if not part.isdecimal())
    if not wanted:
        return [entry for entry in everything if "." not in entry.key]
    found = [entry for entry in everything if entry.key == wanted or entry.key.startswith(f"{wanted}.")]
    found = found or [entry for entry in everything if entry.key.rpartition(".")[2] == wanted]
    if not found:
        keys = [entry.key for entry in everything]
        if (renamed := new_key(wanted)) is not None and renamed in keys:
            raise ConfigError(f"{key}: is called {renamed} now")
        wanted = renamed or wanted
        close = nearest(wanted, keys) or nearest(wanted.rpartition(".")[2], [name.rpartition(".")[2] for name in keys])
        raise ConfigError(
            f"{key}: unknown key{f'; did you mean {close}?' if close else ''} (`rlsys explain` lists the top level)"
        )
    return _merged(found)


def _merged(found: list[Entry]) -> list[Entry]:
    """One entry for what several files declare in the same words."""
    groups: dict[tuple[str, str | None], list[Entry]] = {}
    for entry in found:
        groups.setdefault((entry.key, entry.info.description), []).append(entry)
    return [replace(first, others=tuple(others)) for first, *others in groups.values()]


def entries() -> Iterator[Entry]:
    """Every key there is."""
    for name, info in schema.fields(Experiment):
        yield Entry(name, None, info)
    for name, info in schema.fields(ContinualConfig, "continual."):  # of a recipe
        yield Entry(name, None, info)
    for section, package, attribute in FOLDERS:
        for file in registry.names(package, attribute):
            for name, info in schema.fields(registry.resolve(package, file, "Config")):
                yield Entry(f"{section}.{name}", file, info)
    for name, info in schema.fields(RouterConfig):
        yield Entry(f"router.{name}", "serve --router", info)


def _as_yaml(value: Any) -> str:
    match value:
        case None | True | False:
            return {None: "null", True: "true", False: "false"}[value]
        case tuple() | list():
            return f"[{', '.join(_as_yaml(item) for item in value)}]"
    return str(value)
