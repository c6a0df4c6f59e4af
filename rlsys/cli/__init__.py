"""The command line. It imports what a command needs when the command runs: `--help` brings no torch, a mistake in a
config no transformers, `validate` no Ray."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from rlsys import __version__

# Their commands, in this order in --help.
from rlsys.cli import runs, guidance, reading, afterwards, safety  # isort: skip  # noqa: F401
from rlsys.cli.lazy import load_when_used
from rlsys.cli.shared import app
from rlsys.errors import ConfigError, RlsysError


def main() -> None:
    """Entry point. Each mistake is one line on stderr, for users: exit code 2 for configuration, 1 for everything else;
    130 for ctrl-C."""
    load_when_used("torch")
    try:
        app()
    except RlsysError as error:
        typer.echo(str(error), err=True)
        sys.exit(2 if isinstance(error, ConfigError) else 1)


@app.callback(invoke_without_command=True)
def options(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit
