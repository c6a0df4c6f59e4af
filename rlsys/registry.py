"""The folder is the registry: `grpo` is the file `rlsys/algorithms/grpo.py`; a dotted name is your own module, found as Python finds it.

A package's valid names are its files that define what is asked for (`Algorithm`, `Stage`, `Reward`, ...), read from their source: listing them
imports nothing.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from rlsys.errors import ConfigError

PREFERENCES = ("dpo", "cdpo", "robust", "hinge", "ipo", "orpo", "simpo")
REJECTIONS = ("rft", "raft", "rest_em")
ELSEWHERE = {kind: f"stage: {{name: preference, kind: {kind}}}" for kind in PREFERENCES} | dict.fromkeys(
    REJECTIONS, "stage: {name: rejection}"
)
"""Methods that are a setting of a stage with another name, for who looks for them by their own."""


def resolve(package: str, name: str, attribute: str) -> Any:
    """`resolve("rlsys.algorithms", "grpo", "Algorithm")` is `Algorithm` in rlsys/algorithms/grpo.py.

    A dotted name is a module of your own (the current folder is searched last) or ends in the function or class itself, which is then returned.

    Raises ConfigError: unknown name (with the nearest one and the list), a module that can't be imported or that lacks `attribute`.
    """
    if "." in name:
        found = _import_own(name)
        if not isinstance(found, ModuleType):
            return found
        module = found
    else:
        options = names(package, attribute)
        if name not in options:
            hint = elsewhere(package, name) or did_you_mean(name, options)
            raise ConfigError(f"{name!r} is not a file of {package} that defines {attribute}{hint} (known: {_list(options)})")
        module = _import(f"{package}.{name}")
    if not hasattr(module, attribute):
        raise ConfigError(f"{name!r} ({module.__file__}) does not define {attribute}{did_you_mean(attribute, dir(module))}")
    return getattr(module, attribute)


def elsewhere(package: str, name: str) -> str:
    """`; it is stage: {name: rejection}`: an algorithm looked for among stages, a stage among algorithms, or one of `ELSEWHERE`; else nothing."""
    kinds = {"rlsys.algorithms": "algorithm", "rlsys.stages": "stage"}
    if package not in kinds:
        return ""
    others = [(kind, other) for other, kind in kinds.items() if other != package and name in names(other, "Algorithm")]
    found = [f"{kind}: {{name: {name}}}" for kind, _ in others] or [ELSEWHERE[key] for key in [name.lower()] if key in ELSEWHERE]
    return f"; it is {found[0]}" if found else ""


def names(package: str, attribute: str) -> list[str]:
    """Names of the package's files that define `attribute` at top level, sorted."""
    folders = [Path(folder) for folder in importlib.import_module(package).__path__]
    return sorted(file.stem for folder in folders for file in folder.glob("*.py") if attribute in _defined(file))


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """`; did you mean clip_high?`, or nothing when no option is close."""
    close = nearest(word, options)
    return f"; did you mean {close}?" if close else ""


def nearest(word: str, options: Iterable[str]) -> str | None:
    """The most similar option (compared without case, `_` and `-`), or None when none is close."""
    plain = {option.lower().replace("_", "").replace("-", ""): option for option in options}
    close = difflib.get_close_matches(word.lower().replace("_", "").replace("-", ""), list(plain), n=1, cutoff=0.6)
    return plain[close[0]] if close else None


def _defined(file: Path) -> set[str]:
    """Names that a file binds at top level by class, function or assignment (an import is not a definition)."""
    found: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8"), str(file)).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return found


def _import_own(dotted: str) -> Any:
    """The module `dotted`, or the attribute that its last part names."""
    parent, _, last = dotted.rpartition(".")
    if not all(dotted.split(".")):
        raise ConfigError(f"{dotted!r} is not a dotted name, as in my_package.my_module")
    if os.getcwd() not in sys.path:
        # Last, so that a folder of the user's can't hide a library. It stays: Ray hands the driver's path to its workers.
        sys.path.append(os.getcwd())
    if (module := _import_if_there(dotted)) is not None:
        return module
    if (module := _import_if_there(parent)) is None:
        raise ConfigError(f"{dotted!r}: no such module on Python's path or in {os.getcwd()}")
    if not hasattr(module, last):
        raise ConfigError(f"{dotted!r}: module {parent} ({module.__file__}) has no {last}{did_you_mean(last, dir(module))}")
    return getattr(module, last)


def _import_if_there(dotted: str) -> ModuleType | None:
    """None when the module itself (or one of its parents) does not exist; its own failing imports are errors."""
    try:
        return _import(dotted)
    except ModuleNotFoundError as error:
        if error.name and (dotted == error.name or dotted.startswith(error.name + ".")):
            return None
        raise ConfigError(f"{dotted!r} can't be imported: it needs the module {error.name!r}, which is not installed") from error


def _import(dotted: str) -> ModuleType:
    try:
        return importlib.import_module(dotted)
    except ModuleNotFoundError:
        raise
    except (ImportError, SyntaxError) as error:
        raise ConfigError(f"{dotted!r} can't be imported: {type(error).__name__}: {error}") from error


def _list(options: list[str]) -> str:
    return ", ".join(options) if options else "none"
