"""What `validate` says of a config, and what `train` says up to the start of its first actor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rlsys.commands.validate import experiments
from rlsys.errors import RlsysError
from rlsys.run.recipe import run_recipe
from rlsys.run.train import train


class Started(Exception):
    """Every check is behind us."""


def refusal(call: Callable[[], object]) -> str | None:
    """Its error's message; None: nothing was refused."""
    try:
        call()
    except Started:
        return None
    except RlsysError as error:
        return str(error)
    return None


def trained(config: Path, overrides: Sequence[str], output: Path) -> None:
    """As the command does, up to where it would start actors: there it raises Started."""
    settings = [*overrides, f"output={output}"]
    kind, found = experiments(config, settings)
    if kind == "recipe":
        run_recipe(config, settings, _start)
    else:
        train(found[0], _start)


def _start(*_: Any) -> Any:
    raise Started
