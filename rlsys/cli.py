"""The command line. It imports what a command needs when the command runs: `--help` and `validate` start neither torch's users nor Ray."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlsys import __version__
from rlsys.errors import ConfigError, RlsysError

if TYPE_CHECKING:
    from rlsys.config.models import Experiment

app = typer.Typer(
    name="rlsys",
    help="Post-training of language models with feedback.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

Config = Annotated[Path, typer.Argument(help="Experiment or recipe, a YAML file.", show_default=False)]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change, as in policy.ranks=2.", show_default=False)
]


def main() -> None:
    """Entry point. Errors meant for users are one line on stderr: exit code 2 for configuration, 1 for everything else; 130 for ctrl-C."""
    try:
        app()
    except RlsysError as error:
        typer.echo(str(error), err=True)
        sys.exit(2 if isinstance(error, ConfigError) else 1)


@app.command()
def train(config: Config, overrides: Overrides = None) -> None:
    """Run an experiment or a recipe in a new folder."""
    settings = overrides or []
    _validated(config, settings)  # before Ray is even imported, so that a mistake costs no time
    from actors.spawn import spawn

    if _is_recipe(config):
        from rlsys.recipe import run_recipe

        run_recipe(config, settings, spawn)
    else:
        from rlsys.config.load import load
        from rlsys.train import train as run

        run(load(config, settings), spawn)


@app.command()
def resume(
    run_folder: Annotated[Path, typer.Argument(help="Folder of a run or recipe, as in runs/quickstart.", show_default=False)],
) -> None:
    """Go on with a run that was interrupted, from its newest checkpoint."""
    from rlsys.recipe import RECIPE, resume_recipe
    from rlsys.run_dir import RunDir

    recipe = (run_folder / RECIPE).is_file()
    if not recipe:
        RunDir.open(run_folder)  # an error at once if it is none
    from actors.spawn import spawn

    if recipe:
        resume_recipe(run_folder, spawn)
    else:
        from rlsys.train import resume as run

        run(run_folder, spawn)


@app.command()
def validate(config: Config, overrides: Overrides = None) -> None:
    """Check an experiment or a recipe, and say what it will need; starts nothing."""
    for experiment in _validated(config, overrides or []):
        typer.echo(_summary(experiment))


@app.command()
def explain(key: Annotated[str, typer.Argument(help="A key or section, as in algorithm.clip_high or policy.")] = "") -> None:
    """Say what a key means: its type, default and allowed values. Without a key, list the sections."""
    from rlsys.config.explain import explain as found

    typer.echo("\n\n".join(str(entry) for entry in found(key)))


@app.command()
def doctor(quick: Annotated[bool, typer.Option("--quick", help="Leave out starting Ray, DeepSpeed and vLLM.")] = False) -> None:
    """Check this machine and installation; every problem comes with its remedy."""
    from rlsys.doctor import report

    if not report(quick):
        sys.exit(1)


@app.callback(invoke_without_command=True)
def options(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def _is_recipe(config: Path) -> bool:
    from rlsys.config.yaml_file import read

    return "stages" in read(config)[0]


def _validated(config: Path, overrides: list[str]) -> list[Experiment]:
    """The experiment, or those of a recipe in order. Raises ConfigError."""
    if _is_recipe(config):
        from rlsys.config.recipe import load_recipe

        return load_recipe(config, overrides)[1]
    from rlsys.config.load import load

    return [load(config, overrides)]


def _summary(experiment: Experiment) -> str:
    from rlsys.config.checks import local_gpus, needs
    from rlsys.running_cluster import address_to_join
    from rlsys.seating import demands, plan

    use_gpus = local_gpus(experiment) > 0
    layout = plan(experiment, needs(experiment), use_gpus)
    actors = ", ".join(f"{demand.actors} {role}" for role, demand in demands(experiment, needs(experiment), use_gpus).items())
    method: Any = experiment.algorithm or experiment.stage
    address = address_to_join(experiment.cluster)
    where = f"of the Ray cluster at {address} (checked when it is joined)" if address else "of this machine"
    return (
        f"OK  {experiment.name}: {method.name} on {experiment.model.path}, {experiment.loop.steps} steps; "
        f"actors: {actors}; {layout.total('CPU'):g} CPUs and {layout.total('GPU'):g} GPUs {where}"
    )
