"""The command line. It imports what a command needs when the command runs: `--help` brings no torch, a mistake in a config no transformers,
`validate` no Ray."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlsys import __version__
from rlsys.errors import ConfigError, RlsysError

if TYPE_CHECKING:
    from rlsys.config.judge_eval import JudgeEval
    from rlsys.config.models import Experiment

app = typer.Typer(
    name="rlsys",
    help="Post-training of language models with feedback.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

Config = Annotated[Path, typer.Argument(help="Experiment or recipe, a YAML file.", show_default=False)]
AnyConfig = Annotated[Path, typer.Argument(help="Experiment, recipe or evaluation of a judge, a YAML file.", show_default=False)]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change, as in policy.ranks=2.", show_default=False)
]


def main() -> None:
    """Entry point. Each mistake is one line on stderr, for users: exit code 2 for configuration, 1 for everything else; 130 for ctrl-C."""
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

    if _kind(config) == "recipe":
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


@app.command(name="judge-eval")
def judge_eval(config: AnyConfig, overrides: Overrides = None) -> None:
    """Measure a judge alone: on labelled comparisons, and by attacks on it."""
    evaluation = _judge_eval(config, overrides or [])
    from actors.spawn_judge import spawn_judge
    from rlsys.judge_eval import judge_eval as run

    run(evaluation, spawn_judge)


@app.command()
def validate(config: AnyConfig, overrides: Overrides = None) -> None:
    """Check an experiment, a recipe or the evaluation of a judge, try the first rows of its local data, and say what it will need; starts nothing."""
    if _kind(config) == "judge-eval":
        evaluation = _judge_eval(config, overrides or [])
        judge, attacks = evaluation.judge, f", {evaluation.attacks} attacks" if evaluation.attacks else ""
        from rlsys.first_rows import first_labelled  # brings transformers

        read = [*first_labelled(evaluation.data, evaluation.name)]
        typer.echo("\n".join([f"OK  {evaluation.name}: {judge.model} ({judge.backend}) judges {evaluation.data.path}{attacks}", *read]))
        return
    experiments = _validated(config, overrides or [])
    from rlsys.first_rows import first_rows  # brings transformers

    for number, experiment in enumerate(experiments):
        read = [*first_rows(experiment, experiments[:number])]
        typer.echo("\n".join([_summary(experiment), *read]))


@app.command()
def explain(key: Annotated[str, typer.Argument(help="A key or section, as in algorithm.clip_high or policy.")] = "") -> None:
    """Say what a key means: its type, default and allowed values. Without a key, list the sections."""
    from rlsys.config.explain import explain as found

    typer.echo("\n\n".join(str(entry) for entry in found(key)))


@app.command()
def presets(name: Annotated[str, typer.Argument(help="One of them, to see all its settings as YAML.")] = "") -> None:
    """List the policy-gradient methods and what each chooses, or print one's settings, to copy and change."""
    from rlsys.policy_gradient.presets import AXES, axes, settings_yaml
    from rlsys.policy_gradient.presets import presets as found

    if name:
        typer.echo("\n".join(settings_yaml(name)))
    else:
        rows = [("preset", *AXES), *((preset, *axes(settings)) for preset, settings in found().items())]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@app.command()
def choose(
    data: Annotated[list[str] | None, typer.Option(help="What there is; may be given several times.", show_default=False)] = None,
    compute: Annotated[str | None, typer.Option(help="What it may take.", show_default=False)] = None,
    need: Annotated[str | None, typer.Option(help="What is wanted.", show_default=False)] = None,
    everything: Annotated[bool, typer.Option("--all", help="Print the whole table.")] = False,
) -> None:
    """Name a method and its config for your data, compute and need (exit code 1: none fits). What is not given as an option is asked for."""
    from rlsys.choose import answered, ask, table, told
    from rlsys.choose import choose as choice

    if everything:
        typer.echo("\n".join(table()))
        return
    asked = {"data": ",".join(data) if data else None, "compute": compute, "need": need}
    answers = {question: answered(question, given or ask(question, typer.echo, typer.prompt)) for question, given in asked.items()}
    found = choice(frozenset(answers["data"]), answers["compute"][0], answers["need"][0])
    if found.missing is not None:
        raise RlsysError(found.missing)
    typer.echo("\n".join(told(found)))


@app.command()
def doctor(quick: Annotated[bool, typer.Option("--quick", help="Leave out starting Ray, DeepSpeed and vLLM.")] = False) -> None:
    """Check this machine and installation; every problem comes with its remedy."""
    from rlsys.doctor import report

    if not report(quick):
        sys.exit(1)


@app.command()
def trace(
    sample_id: Annotated[
        str | None,
        typer.Argument(help="Id of a sample, as in train-3/train:17/0/2; without it, --run lists a few.", show_default=False),
    ] = None,
    run: Annotated[Path | None, typer.Option(help="Folder of its run or recipe; without it, all of runs/ is searched.")] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Show what the judge was sent, whole.")] = False,
) -> None:
    """Tell the story of one sample: prompt, response, verdicts, reward, advantage, the step that learned from it, the rows made of it."""
    from rlsys.trace import some_ids
    from rlsys.trace import trace as story

    if sample_id is not None:
        lines = story(sample_id, run, chat)
    elif run is not None:
        lines = some_ids(run)
    else:
        raise ConfigError("which sample? give SAMPLE_ID; `rlsys trace --run FOLDER` lists a few of a run or recipe")
    for line in lines:
        typer.echo(line)


@app.command()
def report(
    run_folder: Annotated[Path, typer.Argument(help="Folder of a run or recipe, as in runs/quickstart.", show_default=False)],
) -> None:
    """Write report.md into the folder of a run or recipe, finished or not, and print it: what it measured, and the audit of its AI feedback."""
    from rlsys.report.write import report as write

    typer.echo(write(run_folder), nl=False)


@app.callback(invoke_without_command=True)
def options(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def _kind(config: Path) -> str:
    from rlsys.config.kinds import kind_of

    return kind_of(config)


def _judge_eval(config: Path, overrides: list[str]) -> JudgeEval:
    if (kind := _kind(config)) != "judge-eval":
        raise ConfigError(
            f"{config}: is a config of `rlsys train` ({kind}); give one with name, judge and data, as configs/judge_eval.yaml"
        )
    from rlsys.config.judge_eval import load_judge_eval

    return load_judge_eval(config, overrides)


def _validated(config: Path, overrides: list[str]) -> list[Experiment]:
    """The experiment, or those of a recipe in order. Raises ConfigError."""
    if (kind := _kind(config)) == "judge-eval":
        raise ConfigError(f"{config}: measures a judge and trains nothing; use `rlsys judge-eval {config}`")
    if kind == "recipe":
        from rlsys.config.recipe import load_recipe

        return load_recipe(config, overrides)[1]
    from rlsys.config.load import load

    return [load(config, overrides)]


def _summary(experiment: Experiment) -> str:
    from rlsys.config.checks import needs
    from rlsys.config.machine import local_gpus
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
