"""What the commands of this folder share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from rlsys.errors import ConfigError, RlsysError

Quick = Annotated[
    bool, typer.Option("--quick", help="Few steps and samples: shows that everything works, and nothing else.")
]


def run_command(main: Callable[..., Any]) -> None:
    """Run a command. As of `rlsys`, a mistake is one line on stderr: exit code 2 for configuration, 1 for the rest."""
    try:
        typer.run(main)
    except RlsysError as error:
        typer.echo(str(error), err=True)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
