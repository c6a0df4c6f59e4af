"""The folder is the registry: `grpo` is the file `rlsys/methods/grpo.py`; a dotted name is your own module, found as
Python finds it.

A package's valid names are its files that define what is asked for (`Method`, `Reward`, ...), read from their source:
listing them imports nothing.
"""

from __future__ import annotations

import ast
import importlib
import os
import sys
import traceback
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from rlsys.errors import ConfigError, did_you_mean

NOT_ONE = ("__init__", "base")
"""Files of a package that are none of its entries: `base` says what an entry is."""


def resolve(package: str, name: str, attribute: str) -> Any:
    """`resolve("rlsys.methods", "grpo", "Method")` is `Method` in rlsys/methods/grpo.py.

    A dotted name is a module of your own (the current folder is searched last) or ends in the function or class itself,
    which is then returned.

    Raises ConfigError: unknown name (with the nearest one and the list), a module that can't be imported or that lacks
    `attribute`.
    """
    if "." in name:
        found = _import_own(name)
        if not isinstance(found, ModuleType):
            return found
        module = found
    else:
        options = names(package, attribute)
        if name not in options:
            hint = did_you_mean(name, options)
            raise ConfigError(
                f"{name!r} is not a file of {package} that defines {attribute}{hint} (known: {_list(options)})"
            )
        module = _import(f"{package}.{name}")
    if not hasattr(module, attribute):
        raise ConfigError(
            f"{name!r} ({module.__file__}) does not define {attribute}{did_you_mean(attribute, dir(module))}"
        )
    return getattr(module, attribute)


def names(package: str, attribute: str) -> list[str]:
    """Names of the package's files, and of the packages in it, that define `attribute` at top level, sorted."""
    folders = [Path(folder) for folder in importlib.import_module(package).__path__]
    files = {file.stem: file for folder in folders for file in folder.glob("*.py") if file.stem not in NOT_ONE}
    files |= {file.parent.name: file for folder in folders for file in folder.glob("*/__init__.py")}
    return sorted(name for name, file in files.items() if attribute in _defined(file))


def _defined(file: Path) -> set[str]:
    """What `_read` finds, once as long as the file stays as it is."""
    return _read(file, file.stat().st_mtime_ns)


@cache
def _read(file: Path, _: int) -> set[str]:
    """Names that a file binds at top level by class, function or assignment, or lists in `__all__` (a mere import
    defines nothing)."""
    found: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8"), str(file)).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            targets = {target.id for target in node.targets if isinstance(target, ast.Name)}
            found |= set(ast.literal_eval(node.value)) if "__all__" in targets else targets
    return found


def _import_own(dotted: str) -> Any:
    """The module `dotted`, or the attribute that its last part names."""
    parent, _, last = dotted.rpartition(".")
    if not all(dotted.split(".")):
        raise ConfigError(f"{dotted!r} is not a dotted name, as in my_package.my_module")
    if os.getcwd() not in sys.path:
        # Last, so that a folder of the user's can't hide a library. It stays: Ray hands the driver's path to its
        # workers.
        sys.path.append(os.getcwd())
    if (module := _import_if_there(dotted)) is not None:
        return module
    if (module := _import_if_there(parent)) is None:
        raise ConfigError(f"{dotted!r}: no such module on Python's path or in {os.getcwd()}")
    if not hasattr(module, last):
        raise ConfigError(
            f"{dotted!r}: module {parent} ({module.__file__}) has no {last}{did_you_mean(last, dir(module))}"
        )
    return getattr(module, last)


def _import_if_there(dotted: str) -> ModuleType | None:
    """None when the module itself (or one of its parents) does not exist; its own failing imports are errors."""
    try:
        return _import(dotted)
    except ModuleNotFoundError as error:
        if error.name and (dotted == error.name or dotted.startswith(error.name + ".")):
            return None
        raise ConfigError(
            f"{dotted!r} can't be imported: it needs the module {error.name!r}, which is not installed"
        ) from error


def _import(dotted: str) -> ModuleType:
    try:
        return importlib.import_module(dotted)
    except ModuleNotFoundError:
        raise
    except (Exception, SystemExit) as error:  # a user's file may do anything when it is read
        line = " ".join(str(error).split())
        raise ConfigError(f"{dotted!r} can't be imported: {type(error).__name__}: {line}{_where(error)}") from error


def _where(error: BaseException) -> str:
    """The innermost line of a user's own file that failed; a SyntaxError names it itself."""
    frames = [one for one in traceback.extract_tb(error.__traceback__) if "site-packages" not in one.filename]
    return "" if isinstance(error, SyntaxError) or not frames else f" ({frames[-1].filename}, line {frames[-1].lineno})"


def _list(options: list[str]) -> str:
    return ", ".join(options) if options else "none"
