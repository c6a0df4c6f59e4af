"""Commands that know rlsys and this machine: keys, presets, which method, what is installed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from rlsys.cli.shared import Config, Overrides, app
from rlsys.errors import RlsysError


@app.command()
def explain(
    key: Annotated[str, typer.Argument(help="A key or section, as in method.clip_high or policy.")] = "",
) -> None:
    """Say what a key means: its type, default and allowed values. Without a key, list the sections."""
    from rlsys.commands.explain import explain as found

    typer.echo("\n\n".join(str(entry) for entry in found(key)))


@app.command()
def presets(name: Annotated[str, typer.Argument(help="One of them, to see all its settings as YAML.")] = "") -> None:
    """List the policy-gradient methods and what each chooses, or print one's settings, to copy and change."""
    from rlsys.commands.presets import AXES, axes, settings_yaml
    from rlsys.commands.presets import presets as found

    if name:
        typer.echo("\n".join(settings_yaml(name)))
    else:
        rows = [("preset", *AXES), *((preset, *axes(settings)) for preset, settings in found().items())]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@app.command()
def cost(config: Config, overrides: Overrides = None) -> None:
    """Say how many parameters a config trains and what that takes in memory, beside full training; loads no weights."""
    from rlsys.commands.cost import told

    for line in told(config, overrides or []):
        typer.echo(line)


@app.command()
def choose(
    data: Annotated[
        list[str] | None, typer.Option(help="What there is; may be given several times.", show_default=False)
    ] = None,
    compute: Annotated[str | None, typer.Option(help="What it may take.", show_default=False)] = None,
    need: Annotated[str | None, typer.Option(help="What is wanted.", show_default=False)] = None,
    everything: Annotated[bool, typer.Option("--all", help="Print the whole table.")] = False,
) -> None:
    """Name a method and its config for your data, compute and need (exit code 1: none fits). What is not given as an
    option is asked for."""
    from rlsys.commands.choose import answered, ask, table, told
    from rlsys.commands.choose import choose as choice

    if everything:
        typer.echo("\n".join(table()))
        return
    asked = {"data": ",".join(data) if data else None, "compute": compute, "need": need}
    answers = {
        question: answered(question, given or ask(question, typer.echo, typer.prompt))
        for question, given in asked.items()
    }
    found = choice(frozenset(answers["data"]), answers["compute"][0], answers["need"][0])
    if found.missing is not None:
        raise RlsysError(found.missing)
    typer.echo("\n".join(told(found)))


@app.command()
def data(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="CONFIG|FILE...",
            help="An experiment or recipe, whose data sets are meant, or data sets: files, folders, hub ids.",
            show_default=False,
        ),
    ],
    against: Annotated[
        list[str] | None,
        typer.Option(help="Evaluation set that is looked for in the data; may be given several times."),
    ] = None,
    field: Annotated[
        list[str] | None, typer.Option(help="Which column is what, as in prompt=question,answer=solution.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split of the data sets. Default train.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take the first so many rows of each.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of method curate, as in deduplication.near=0.9."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for curation.json and dropped.jsonl, which name every row.")
    ] = None,
) -> None:
    """Report on data sets: duplicates, quality, personal data, contamination, bias of comparisons; changes nothing."""
    from rlsys.commands import data as command
    from rlsys.commands import options

    fields = options.pairs("--field", field) if field else {}
    chosen = command.prepared(paths, against or [], fields, split, limit, settings or [])
    command.show(chosen, output)


@app.command()
def doctor(
    quick: Annotated[bool, typer.Option("--quick", help="Leave out starting Ray, DeepSpeed and vLLM.")] = False,
) -> None:
    """Check this machine and installation; every problem comes with its remedy."""
    from rlsys.commands.doctor import report

    if not report(quick):
        sys.exit(1)
