"""Commands that read what runs wrote down: their samples, their reports, and several runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlsys.cli.shared import RunFolder, app
from rlsys.errors import ConfigError


@app.command()
def trace(
    sample_id: Annotated[
        str | None,
        typer.Argument(
            help="Id of a sample, as in train-3/train:17/0/2; without it, --run lists a few.", show_default=False
        ),
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="Folder of its run or recipe; without it, all of runs/ is searched.")
    ] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Show what the judge was sent, whole.")] = False,
) -> None:
    """Tell the story of one sample: prompt, response, verdicts, reward, advantage, the step that learned from it, the
    rows made of it."""
    from rlsys.commands.trace import some_ids
    from rlsys.commands.trace import trace as story

    if sample_id is not None:
        lines = story(sample_id, run, chat)
    elif run is not None:
        lines = some_ids(run)
    else:
        raise ConfigError("which sample? give SAMPLE_ID; `rlsys trace --run FOLDER` lists a few of a run or recipe")
    for line in lines:
        typer.echo(line)


@app.command()
def samples(
    run_folder: RunFolder,
    worst: Annotated[int | None, typer.Option(min=1, help="The so many of least reward.", show_default=False)] = None,
    best: Annotated[int | None, typer.Option(min=1, help="The so many of most reward.", show_default=False)] = None,
    step: Annotated[int | None, typer.Option(min=0, help="Those of a step.", show_default=False)] = None,
    phase: Annotated[
        str | None, typer.Option(help="Those of a phase, as in train or eval.", show_default=False)
    ] = None,
    search: Annotated[
        str | None, typer.Option(help="Those with this text in prompt or response.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Show so many at most, without --worst and --best.")] = 20,
) -> None:
    """Show samples of a run or recipe: prompt, response, reward, and the id that `rlsys trace` takes."""
    from rlsys.commands.samples import Choice
    from rlsys.commands.samples import samples as found

    for line in found(run_folder, Choice(worst, best, step, phase, search, limit)):
        typer.echo(line)


@app.command()
def report(run_folder: RunFolder) -> None:
    """Write report.html and report.md into the folder of a run or recipe, finished or not, and print the second: what
    it measured, and the audit of its AI feedback."""
    from rlsys.commands.report.html import write_all
    from rlsys.commands.report.write import report as write

    text, page = write(run_folder), write_all(run_folder)
    typer.echo(text, nl=False)
    typer.echo(f"report: {page}", err=True)


@app.command(name="list")
def list_runs(
    folder: Annotated[Path, typer.Argument(help="Where the runs are; of a recipe, its stages are listed.")] = Path(
        "runs"
    ),
) -> None:
    """List the runs and recipes in a folder, the newest last: how each stands, and its one figure."""
    from rlsys.commands.list_runs import HEAD, listed
    from rlsys.run.progress import print_table

    print_table("", [row.cells() for row in listed(folder)], head=HEAD)


@app.command()
def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN RUN...", help="Folders of runs, or of recipes.", show_default=False)
    ],
    html: Annotated[
        Path | None, typer.Option(help="Also write a page with the curves over each other.", show_default=False)
    ] = None,
) -> None:
    """Set runs side by side: in which settings they differ, their last figures, their curves, and the spread over seeds
    of those that differ in nothing else."""
    from rlsys.commands.compare.text import show
    from rlsys.commands.compare.together import together

    compared = together(runs)
    show(compared)
    if html is not None:
        from rlsys.commands.compare.page import write

        typer.echo(f"page: {write(compared, html)}")
