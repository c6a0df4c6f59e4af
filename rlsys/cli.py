"""The command line. It imports what a command needs when the command runs: `--help` brings no torch, a mistake in a
config no transformers, `validate` no Ray."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer

from rlsys import __version__
from rlsys.errors import ConfigError, RlsysError

app = typer.Typer(
    name="rlsys",
    help="Post-training of language models with feedback.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

Config = Annotated[Path, typer.Argument(help="Experiment or recipe, a YAML file.", show_default=False)]
AnyConfig = Annotated[
    Path, typer.Argument(help="Experiment, recipe or evaluation of a judge, a YAML file.", show_default=False)
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change, as in policy.ranks=2.", show_default=False),
]
MODEL_HELP = "A model (local folder, hub id or playground:SIZE), or the folder of a run or recipe: its final model."
Models = Annotated[list[str], typer.Argument(metavar="MODEL|RUN...", help=MODEL_HELP, show_default=False)]
Temperature = Annotated[float | None, typer.Option(min=0, help="0 is greedy. Default 1.0.", show_default=False)]
MaxTokens = Annotated[int | None, typer.Option(min=1, help="Longest response. Default 512.", show_default=False)]
Seed = Annotated[int | None, typer.Option(help="Samples are drawn from it. Default 0.", show_default=False)]
System = Annotated[str | None, typer.Option(help="System prompt.", show_default=False)]
Plain = Annotated[bool, typer.Option("--plain", help="Leave the chat template out: go on with the text as it is.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any other setting of an experiment, as in rollout.engines=4.",
        show_default=False,
    ),
]
RunFolder = Annotated[
    Path, typer.Argument(help="Folder of a run or recipe, as in runs/quickstart.", show_default=False)
]


def main() -> None:
    """Entry point. Each mistake is one line on stderr, for users: exit code 2 for configuration, 1 for everything else;
    130 for ctrl-C."""
    load_when_used("torch")
    try:
        app()
    except RlsysError as error:
        typer.echo(str(error), err=True)
        sys.exit(2 if isinstance(error, ConfigError) else 1)


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


@app.command()
def train(config: Config, overrides: Overrides = None) -> None:
    """Run an experiment or a recipe in a new folder."""
    from rlsys.commands.validate import experiments

    settings = overrides or []
    kind, _ = experiments(config, settings)  # before Ray is even imported, so that a mistake costs no time
    from actors.spawn import spawn

    if kind == "recipe":
        from rlsys.run.recipe import run_recipe

        run_recipe(config, settings, spawn)
    else:
        from rlsys.check.load import load
        from rlsys.run.train import train as run

        run(load(config, settings), spawn)


@app.command()
def resume(run_folder: RunFolder) -> None:
    """Go on with a run that was interrupted, from its newest checkpoint."""
    from rlsys.run.folder import RunDir
    from rlsys.run.recipe import RECIPE, resume_recipe

    recipe = (run_folder / RECIPE).is_file()
    if not recipe:
        RunDir.open(run_folder)  # an error at once if it is none
    from actors.spawn import spawn

    if recipe:
        resume_recipe(run_folder, spawn)
    else:
        from rlsys.run.train import resume as run

        run(run_folder, spawn)


@app.command(name="judge-eval")
def judge_eval(config: AnyConfig, overrides: Overrides = None) -> None:
    """Measure a judge alone: on labelled comparisons, and by attacks on it."""
    from rlsys.commands.validate import evaluation_of_judge

    evaluation = evaluation_of_judge(config, overrides or [])
    from actors.spawn_judge import spawn_judge
    from rlsys.commands.judge_eval import judge_eval as run

    run(evaluation, spawn_judge)


@app.command()
def validate(config: AnyConfig, overrides: Overrides = None) -> None:
    """Check an experiment, a recipe or the evaluation of a judge, try the first rows of its local data, and say what it
    will need; starts nothing."""
    from rlsys.commands.validate import validated

    for line in validated(config, overrides or []):
        typer.echo(line)


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
def doctor(
    quick: Annotated[bool, typer.Option("--quick", help="Leave out starting Ray, DeepSpeed and vLLM.")] = False,
) -> None:
    """Check this machine and installation; every problem comes with its remedy."""
    from rlsys.commands.doctor import report

    if not report(quick):
        sys.exit(1)


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
def sample(
    models: Models,
    prompt: Annotated[
        list[str] | None, typer.Option(help="What is asked; may be given several times.", show_default=False)
    ] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Samples of each prompt from each model.")] = 1,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    seed: Seed = None,
    system: System = None,
    plain: Plain = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each sample.")] = False,
    settings: Settings = None,
) -> None:
    """Sample from models, or from what runs made, side by side: the base beside the trained."""
    from rlsys.commands import options
    from rlsys.commands.sample import prepared
    from rlsys.commands.sample import sample as found

    prompts = prompt or []
    chosen = options.sampling(temperature, max_tokens, seed, settings)
    asked = prepared(models, prompts, n, chosen, system, plain)
    from actors.spawn import spawn

    for answered in found(asked, prompts, n, spawn):
        if as_json:
            for line in answered.rows():
                typer.echo(line)
        else:
            answered.show()


@app.command()
def chat(
    model: Annotated[str, typer.Argument(metavar="MODEL|RUN", help=MODEL_HELP, show_default=False)],
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    seed: Seed = None,
    system: System = None,
    plain: Plain = False,
    settings: Settings = None,
) -> None:
    """Talk to a model, or to what a run made; a line of the standard input is a turn. One without a chat template goes
    on with each line by itself."""
    from rlsys.commands import options
    from rlsys.commands.chat import chat as talk
    from rlsys.commands.chat import typed
    from rlsys.commands.named_models import model_path
    from rlsys.commands.sampler import Sampler

    chosen = options.sampling(temperature, max_tokens, seed, settings)
    sampler = Sampler.prepare(model, model_path(model), chosen, system, plain)
    from actors.spawn import spawn

    talk(sampler, typed(), spawn, typer.echo, lambda text: typer.echo(text, err=True))


@app.command()
def evaluate(
    models: Models,
    data: Annotated[str, typer.Option(help="File, folder or hub id of the data set.", show_default=False)],
    reward: Annotated[
        list[str],
        typer.Option(help="What says which answers are right; may be given several times.", show_default=False),
    ],
    samples: Annotated[
        int | None, typer.Option(min=1, help="Sample so many answers to each prompt; without it, one greedy answer.")
    ] = None,
    greedy: Annotated[bool, typer.Option("--greedy", help="Beside --samples, greedy answers too.")] = False,
    pass_at: Annotated[str | None, typer.Option(help="With --samples, pass@k for each k, as in 1,4.")] = None,
    majority: Annotated[bool, typer.Option("--majority", help="With --samples, maj@k.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Take the first so many rows.")] = None,
    field: Annotated[
        list[str] | None, typer.Option(help="Which column is what, as in prompt=question,answer=solution.")
    ] = None,
    answer_after: Annotated[
        str | None, typer.Option(help="The known answer is what follows this in its column, as #### for gsm8k.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split of the data set. Default train.")] = None,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    seed: Seed = None,
    system: System = None,
    name: Annotated[str, typer.Option(help="Folder of the results, in OUTPUT.")] = "evaluation",
    output: Annotated[Path, typer.Option(help="Where that folder is made.")] = Path("runs"),
    settings: Settings = None,
) -> None:
    """Measure models, or what runs made, on the same data: one table, and evaluation.json beside the runs' folders."""
    from rlsys.commands import evaluate as command
    from rlsys.commands import options

    own = options.settings(
        [
            ("--data", "data.eval.path", data),
            ("--split", "data.eval.split", split),
            ("--limit", "data.eval.limit", limit),
            ("--field", "data.eval.fields", options.pairs("--field", field) if field else None),
            ("--answer-after", "data.eval.answer_after", answer_after),
            ("--system", "data.eval.system_prompt", system),
            ("--reward", "rewards", [{"name": one} for one in reward]),
            ("--samples", "evaluation.samples", samples),
            ("--greedy", "evaluation.greedy", greedy or samples is None),
            ("--pass-at", "evaluation.pass_at", options.numbers("--pass-at", pass_at) if pass_at else None),
            ("--majority", "evaluation.majority", majority or None),
        ]
    )
    chosen = [*own, *options.sampling(temperature, max_tokens, seed, settings)]
    command.prepared(models, chosen, output)  # before Ray is even imported, so that a mistake costs no time
    from actors.spawn import spawn

    command.show(*command.evaluate(models, chosen, output, name, spawn))


@app.command()
def serve(
    model: Annotated[str, typer.Argument(metavar="MODEL|RUN", help=MODEL_HELP, show_default=False)],
    more: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- VLLM OPTIONS]", help="Further options of vLLM's server, after --.", show_default=False
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0 is reached from other machines.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 is any free one.")] = 8000,
    name: Annotated[
        str | None,
        typer.Option(help="What requests call the model; without it, MODEL|RUN as typed.", show_default=False),
    ] = None,
) -> None:
    """Serve a model, or what a run made, by vLLM's OpenAI-compatible server, until ctrl-C."""
    from rlsys.commands.named_models import dtype_of, files, model_path

    folder = files(model, model_path(model), Path("runs"))
    from actors.serve import Server, free_port, on_gpu
    from actors.serve import serve as run

    run(
        Server(folder, name or model, dtype_of(folder), host, free_port(host, port), on_gpu(), tuple(more or ())),
        typer.echo,
    )


@app.command()
def report(run_folder: RunFolder) -> None:
    """Write report.md into the folder of a run or recipe, finished or not, and print it: what it measured, and the
    audit of its AI feedback."""
    from rlsys.commands.report.write import report as write

    typer.echo(write(run_folder), nl=False)


@app.callback(invoke_without_command=True)
def options(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit
