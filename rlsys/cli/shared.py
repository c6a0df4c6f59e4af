"""The app, and the arguments that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="rlsys",
    help="Post-training of language models with feedback.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

Config = Annotated[Path, typer.Argument(help="Experiment or recipe, a YAML file.", show_default=False)]
Merging = Annotated[Path, typer.Argument(help="Experiment of method merge, a YAML file.", show_default=False)]
AnyConfig = Annotated[
    Path, typer.Argument(help="Experiment, recipe or evaluation of a judge, a YAML file.", show_default=False)
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change, as in policy.ranks=2.", show_default=False),
]
MODEL_HELP = "A model (local folder, hub id or playground:SIZE), or the folder of a run or recipe: its final model."
Models = Annotated[list[str], typer.Argument(metavar="MODEL|RUN...", help=MODEL_HELP, show_default=False)]
AdaptersOf = Annotated[
    list[str] | None,
    typer.Option(
        "--adapter",
        metavar="NAME=PATH",
        help="An adapter of that model (a run, or the adapter's folder), by a name; may be given several times.",
        show_default=False,
    ),
]
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
