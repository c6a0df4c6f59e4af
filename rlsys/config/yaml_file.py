"""YAML that remembers where each key was written.

Scalars follow YAML 1.2: `off`, `no` and `never` are text and `1e-6` is a number, where PyYAML's own reading (1.1) says
false and text.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from rlsys.config.schema import Key, dotted
from rlsys.errors import ConfigError, did_you_mean

_SCALARS = [
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
]


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {}


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers = {}


for _tag, _pattern, _first in _SCALARS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))
_Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))  # not octal where it starts with 0
_Loader.add_constructor(
    "tag:yaml.org,2002:float", lambda _, node: float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))
)


def read(path: Path) -> tuple[dict[str, Any], dict[Key, int]]:
    """The file's mapping, and the line (from 1) of each key in it. Raises ConfigError: no file, not YAML, a key given
    twice, not a mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        siblings = [str(file) for file in path.parent.glob("*.yaml")]
        raise ConfigError(f"{path}: no such file{did_you_mean(str(path), siblings)}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't be read as text: {error}") from error
    lines: dict[Key, int] = {}
    data = _parse(text, str(path), lines)
    if not isinstance(data, dict):
        raise ConfigError(
            f"{path}:1: wanted `key: value` lines, got {'an empty file' if data is None else f'{data!r:.60}'}"
        )
    return data, lines


def parse_value(text: str, where: str) -> Any:
    """One value as YAML: `2`, `true`, `null`, `[1, 2]`, `{name: grpo}`, text."""
    return _parse(text, where, {})


def dump(data: dict[str, Any]) -> str:
    """YAML that `read` reads back equal."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=140)


def _parse(text: str, where: str, lines: dict[Key, int]) -> Any:
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return None if node is None else _construct(loader, node, (), where, lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise ConfigError(f"{where}{place}: not valid YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise ConfigError(f"{where}: not valid YAML: an alias contains itself") from error


def _construct(loader: _Loader, node: Node, key: Key, where: str, lines: dict[Key, int]) -> Any:
    if isinstance(node, SequenceNode):
        for index, item in enumerate(node.value):
            lines[*key, index] = item.start_mark.line + 1
        return [_construct(loader, item, (*key, index), where, lines) for index, item in enumerate(node.value)]
    if isinstance(node, MappingNode):
        return _construct_mapping(loader, node, key, where, lines)
    return loader.construct_object(node)


def _construct_mapping(
    loader: _Loader, node: MappingNode, key: Key, where: str, lines: dict[Key, int]
) -> dict[str, Any]:
    data: dict[str, Any] = {}
    merged: dict[str, Any] = {}
    for name_node, value_node in node.value:
        line = name_node.start_mark.line + 1
        if not isinstance(name_node, ScalarNode):
            raise ConfigError(f"{where}:{line}: a key must be text")
        name = name_node.value
        if name == "<<":  # `<<: *anchor`: that mapping's keys, where they are not given here
            if not isinstance(value_node, MappingNode):
                raise ConfigError(f"{where}:{line}: `<<` wants one mapping, as in `<<: *anchor`")
            inherited: dict[Key, int] = {}
            merged = _construct_mapping(loader, value_node, key, where, inherited)
            lines.update({place: number for place, number in inherited.items() if place not in lines})
            continue
        if name in data:
            raise ConfigError(
                f"{where}:{line}: {dotted((*key, name))}: given twice (first in line {lines[*key, name]}); remove one"
            )
        for old in [old for old in lines if old[: len(key) + 1] == (*key, name)]:
            del lines[old]  # of a merged value that this one replaces
        lines[*key, name] = line
        data[name] = _construct(loader, value_node, (*key, name), where, lines)
    return merged | data
