"""Commands about safety and trust: attacks, refusals, calibration, drift, and experiments on users."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlsys.cli.shared import MODEL_HELP, MaxTokens, Models, Plain, Seed, Settings, System, Temperature, app

Refusal = Annotated[
    str,
    typer.Option(help="What tells refusals: rules, or the dotted path of your function of what was wanted and answer."),
]
JudgeFileOf = Annotated[
    Path | None,
    typer.Option("--judge", help="YAML file of a judge (judge: {...}) that tells refusals, too.", show_default=False),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Take the first so many rows.", show_default=False)]
Fields = Annotated[
    list[str] | None, typer.Option("--field", help="Which column is what, as in prompt=question.", show_default=False)
]
Split = Annotated[str | None, typer.Option(help="Split of the data set. Default train.", show_default=False)]
Output = Annotated[Path, typer.Option(help="Where the folder of the results is made.")]

Goals = Annotated[
    str, typer.Option(help="Safety data set: prompt, category, severity, desired; what is to be refused is a goal.")
]
Attacks = Annotated[
    list[str] | None,
    typer.Option(help="An attack, or a dotted path; may be given several times.", show_default="all that are known"),
]
Templates = Annotated[
    Path | None, typer.Option(help="File of templates, one a line, with {goal} in each.", show_default=False)
]
Attacker = Annotated[
    str | None, typer.Option(help="A model that writes attacks on the goals that are left.", show_default=False)
]
Instead = Annotated[
    str | None,
    typer.Option(help="What should have been said: makes failures.jsonl rows for sft.", show_default=False),
]


@app.command()
def redteam(
    model: Annotated[str, typer.Argument(metavar="MODEL|RUN", help=MODEL_HELP, show_default=False)],
    goals: Goals,
    attack: Attacks = None,
    templates: Templates = None,
    n: Annotated[int, typer.Option("--n", min=1, help="How often each attack is tried.")] = 1,
    attacker: Attacker = None,
    rounds: Annotated[int, typer.Option(min=1, help="With --attacker, its attempts on each goal.")] = 3,
    answer: Instead = None,
    refusal: Refusal = "rules",
    judge: JudgeFileOf = None,
    limit: Limit = None,
    field: Fields = None,
    split: Split = None,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    seed: Seed = None,
    system: System = None,
    plain: Plain = False,
    name: Annotated[str, typer.Option(help="Folder of the results, in OUTPUT.")] = "redteam",
    output: Output = Path("runs"),
    settings: Settings = None,
) -> None:
    """Attack a model with goals of your own, in disguises and dialogues; tell how often it gives in, and write the
    failures down as rows to train on."""
    from rlsys.commands import options
    from rlsys.commands import redteam as command
    from rlsys.commands.judged_refusals import Detectors
    from rlsys.safety.attacks import BARE, KNOWN, read_templates

    prepared = command.prepared(
        model,
        options.dataset(goals, options.pairs("--field", field) if field else {}, split, limit),
        attack or KNOWN,
        BARE if templates is None else read_templates(templates),
        n,
        options.sampling(temperature, max_tokens, seed, settings),
        Detectors.prepared(refusal, judge),
        output,
        name,
        attacker,
        rounds,
        answer,
        system,
        plain,
    )
    from actors.spawn import spawn
    from actors.spawn_judge import spawn_judge

    command.red_team(prepared, spawn, spawn_judge)


@app.command(name="over-refusal")
def over_refusal(
    models: Models,
    pairs: Annotated[
        str,
        typer.Option(help="Safety data set with harmful prompts and harmless look-alikes, each two with one `pair`."),
    ],
    n: Annotated[int, typer.Option("--n", min=1, help="Answers to each prompt.")] = 1,
    refusal: Refusal = "rules",
    judge: JudgeFileOf = None,
    limit: Limit = None,
    field: Fields = None,
    split: Split = None,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    seed: Seed = None,
    system: System = None,
    plain: Plain = False,
    name: Annotated[str, typer.Option(help="Folder of the results, in OUTPUT.")] = "over-refusal",
    output: Output = Path("runs"),
    settings: Settings = None,
) -> None:
    """Measure how often models refuse harmful prompts, and how often harmless look-alikes: tables, and a plot of the
    trade-off."""
    from rlsys.commands import options
    from rlsys.commands import over_refusal as command
    from rlsys.commands.judged_refusals import Detectors

    prepared = command.prepared(
        models,
        options.dataset(pairs, options.pairs("--field", field) if field else {}, split, limit),
        n,
        options.sampling(temperature, max_tokens, seed, settings),
        Detectors.prepared(refusal, judge),
        output,
        name,
        system,
        plain,
    )
    from actors.spawn import spawn
    from actors.spawn_judge import spawn_judge

    command.over_refusal(prepared, spawn, spawn_judge)


@app.command()
def ab(
    log: Annotated[
        Path, typer.Argument(help="JSON lines: unit, variant, time; unit, time, outcome.", show_default=False)
    ],
    control: Annotated[
        str | None, typer.Option(help="The variant to compare with.", show_default="the first by name")
    ] = None,
    share: Annotated[
        list[str] | None,
        typer.Option(help="Shares as designed, as in control=9,new=1.", show_default="equal ones"),
    ] = None,
    alpha: Annotated[float, typer.Option(min=1e-6, max=0.5, help="Chance of a false alarm.")] = 0.05,
    output: Annotated[Path | None, typer.Option(help="JSON file of the analysis.", show_default=False)] = None,
) -> None:
    """Analyse an A/B experiment: the difference with its interval, bounds that hold at every look, sample ratio."""
    from rlsys.commands import options
    from rlsys.commands.ab import ab as command

    command(log, control, options.pairs("--share", share) if share else None, alpha, output)


@app.command()
def calibration(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE|RUN...",
            help="JSON lines of probability and outcome; or a run, or a folder of judge-eval, and what these forecast.",
            show_default=False,
        ),
    ],
    bins: Annotated[int, typer.Option(min=1, help="Bins.")] = 10,
    output: Annotated[Path | None, typer.Option(help="JSON file of all measures.", show_default=False)] = None,
) -> None:
    """Tell whether probabilities can be believed: expected calibration error, and a reliability table."""
    from rlsys.commands.calibration import calibration as command

    command(paths, bins, output)


@app.command()
def drift(
    model: Annotated[
        str, typer.Argument(metavar="MODEL|RUN", help="A reward model, or a run that trained one.", show_default=False)
    ],
    data: Annotated[str, typer.Option(help="Comparisons: prompt, chosen, rejected, and a time.", show_default=False)],
    time: Annotated[str, typer.Option(help="Column with the time: text that sorts, or a number.")] = "time",
    slices: Annotated[int, typer.Option(min=2, help="Slices of equally many comparisons.")] = 4,
    limit: Limit = None,
    field: Fields = None,
    split: Split = None,
    name: Annotated[str, typer.Option(help="Folder of the results, in OUTPUT.")] = "drift",
    output: Output = Path("runs"),
    settings: Settings = None,
) -> None:
    """Measure an old reward model's agreement with newer and newer comparisons (exit code 1: it has fallen)."""
    from rlsys.commands import drift as command
    from rlsys.commands import options

    rows = options.dataset(data, options.pairs("--field", field) if field else {}, split, limit)
    prepared = command.prepared(model, rows, time, slices, options.settings((), settings or ()), output, name)
    from actors.spawn import spawn

    command.drift(prepared, spawn)
