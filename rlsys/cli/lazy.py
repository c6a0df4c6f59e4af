"""Modules that are imported when they are used."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any


class Deferred(ModuleType):
    """A module that is imported when somebody asks it for something. Unlike that of `importlib.util.LazyLoader` it may
    be asked for its file without being imported: pydantic, which reads the source of a class, asks every module."""

    def __getattr__(self, name: str) -> Any:
        self.__class__ = ModuleType  # pyright: ignore[reportAttributeAccessIssue]
        assert self.__spec__ is not None
        assert self.__spec__.loader is not None
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)


def load_when_used(name: str) -> None:
    """Let `import NAME` cost nothing until it is used. A method's settings stand beside its arithmetic, so `explain`,
    `presets` and `validate` import files that import torch, and need none of it."""
    spec = importlib.util.find_spec(name)
    if name not in sys.modules and spec is not None:
        module = importlib.util.module_from_spec(spec)
        module.__class__ = Deferred
        sys.modules[name] = module
