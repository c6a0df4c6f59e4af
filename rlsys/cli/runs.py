"""Commands about a config: run it, go on with it, merge models, measure a judge, look whether it can run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlsys.cli.shared import AnyConfig, Config, Merging, Overrides, RunFolder, app
from rlsys.errors import command


@app.command()
def train(config: Config, overrides: Overrides = None) -> None:
    """Run an experiment or a recipe in a new folder."""
    from rlsys.library import train as run

    tell_of_report(run(config, overrides or []).path)


@app.command()
def resume(
    run_folder: RunFolder,
    overrides: Overrides = None,
    start: Annotated[
        str | None,
        typer.Option("--from", help="Go back to this checkpoint, as in step-8; newer ones are kept aside."),
    ] = None,
) -> None:
    """Go on with a run that was interrupted, from its newest checkpoint. Some settings may be changed; one that may not
    is refused before anything starts."""
    from rlsys.check.load import load
    from rlsys.errors import ConfigError
    from rlsys.run.folder import RunDir
    from rlsys.run.recipe import RECIPE, resume_recipe

    recipe, settings = (run_folder / RECIPE).is_file(), overrides or []
    if not recipe:
        load(RunDir.open(run_folder).config, settings, this_machine=False)  # a mistake costs no time
    elif settings or start:
        stage = command("rlsys", "resume", run_folder / "STAGE", *settings, *(["--from", start] if start else []))
        raise ConfigError(f"{run_folder}: is a recipe; change a stage of it first, `{stage}`, and then go on with all")
    from actors.spawn import spawn

    if recipe:
        summary = resume_recipe(run_folder, spawn)
    else:
        from rlsys.run.train import resume as run

        summary = run(run_folder, spawn, settings, start)
    tell_of_report(Path(summary["run"]))


@app.command()
def merge(config: Merging, overrides: Overrides = None) -> None:
    """Merge models by arithmetic on their weights (soups, task vectors, TIES, DARE, SLERP), or adapters into their
    base, in a new folder."""
    from rlsys.commands.merge import merge_experiment, no_actors

    experiment = merge_experiment(config, overrides or [])
    from rlsys.run.train import train as run

    if not experiment.method.facts.samples:
        tell_of_report(Path(run(experiment, no_actors)["run"]))
        return
    from actors.spawn import spawn

    tell_of_report(Path(run(experiment, spawn)["run"]))


@app.command(name="judge-eval")
def judge_eval(config: AnyConfig, overrides: Overrides = None) -> None:
    """Measure a judge alone: on labelled comparisons, and by attacks on it."""
    from rlsys.commands.validate import evaluation_of_judge

    evaluation = evaluation_of_judge(config, overrides or [])
    from actors.spawn_judge import spawn_judge
    from rlsys.commands.judge_eval import judge_eval as run

    run(evaluation, spawn_judge)


@app.command()
def validate(
    config: AnyConfig,
    overrides: Overrides = None,
    every: Annotated[bool, typer.Option("--all", help="Read every row of local data, as the run will.")] = False,
) -> None:
    """Check an experiment, a recipe or the evaluation of a judge, try the first rows of its local data, and say what it
    will need; starts nothing."""
    from rlsys.commands.validate import validated

    for line in validated(config, overrides or [], every):
        typer.echo(line)


def tell_of_report(folder: Path) -> None:
    """Write the finished run's page, and say where it is. What can't be written here keeps nobody from the model."""
    from rlsys.commands.report.html import write_all

    try:
        typer.echo(f"report: {write_all(folder)}")
    except OSError as error:
        again = command("rlsys", "report", folder)
        typer.echo(
            f"warning: {error.filename or folder}: the report can't be written: {error.strerror}; `{again}`", err=True
        )
