"""Commands about the models that runs made: to be asked, measured and served."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from rlsys.cli.shared import (
    MODEL_HELP,
    AdaptersOf,
    MaxTokens,
    Models,
    Plain,
    Seed,
    Settings,
    System,
    Temperature,
    app,
)


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
def matrix(
    models: Models,
    tasks: Annotated[
        Path,
        typer.Option(help="File of the tasks: of each, by name, its data, rewards, sampling.", show_default=False),
    ],
    adapter: AdaptersOf = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take the first so many rows of each task.")] = None,
    seed: Seed = None,
    name: Annotated[str, typer.Option(help="Folder of the results, in OUTPUT.")] = "matrix",
    output: Annotated[Path, typer.Option(help="Where that folder is made.")] = Path("runs"),
    settings: Settings = None,
) -> None:
    """Measure models, or what runs made, or one model and adapters of it, on several tasks: a table of tasks x models,
    and evaluation.json beside the runs' folders."""
    from rlsys.commands import options
    from rlsys.commands import task_matrix as command

    own = [("--limit", "data.eval.limit", limit), ("--seed", "seed", seed)]
    prepared = command.Matrix.prepared(models, adapter or (), tasks, options.settings(own, settings or ()), output)
    from actors.spawn import spawn

    command.show(*prepared.measure(output, name, spawn))


@app.command()
def serve(
    model: Annotated[str, typer.Argument(metavar="MODEL|RUN", help=MODEL_HELP, show_default=False)],
    more: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- VLLM OPTIONS]", help="Further options of vLLM's server, after --.", show_default=False
        ),
    ] = None,
    adapter: AdaptersOf = None,
    router: Annotated[
        Path | None, typer.Option(help="File of the rules that choose the adapter of a request.", show_default=False)
    ] = None,
    max_rank: Annotated[
        int | None,
        typer.Option(min=1, help="Largest rank of adapters that are added later.", show_default="of those given"),
    ] = None,
    max_adapters: Annotated[
        int | None,
        typer.Option(min=1, help="Adapters whose requests run together.", show_default="one more than given"),
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
    """Serve a model, or what a run made, and any number of adapters on it, by vLLM's OpenAI-compatible server, until
    ctrl-C."""
    from rlsys.commands.named_models import dtype_of, files, model_path
    from rlsys.serving.tenants import check_reach, tenants

    folder, called, options = files(model, model_path(model), Path("runs")), name or model, tuple(more or ())
    asked = tenants(folder, called, adapter or (), router, max_rank, max_adapters)
    if asked is not None:
        check_reach(host, options, os.environ)
        for warning in (one.warning for one in asked.adapters if one.warning):
            typer.echo(f"warning: {warning}", err=True)
    from actors.serve import Adapters, Server, free_port, on_gpu
    from actors.serve import serve as run

    with TemporaryDirectory(prefix="rlsys-adapters-") as copies:
        beside = Adapters.of(asked, called, Path(copies)) if asked else None
        port = free_port(host, port)
        run(Server(folder, called, dtype_of(folder), host, port, on_gpu(), options, beside), typer.echo)
