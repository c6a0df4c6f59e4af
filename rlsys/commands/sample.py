"""`rlsys sample`: what several models answer to the same prompts, side by side."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from rlsys.commands.named_models import model_paths
from rlsys.commands.sample_text import printable, text_lines
from rlsys.commands.sampler import Sampler
from rlsys.config.document import Override
from rlsys.errors import ConfigError
from rlsys.roles import Spawn
from rlsys.samples import Prompt, Trajectory

TAG = "sample"


@dataclass(frozen=True)
class Answered:
    """A prompt, and what each model answered: as many samples of each, by the model's name."""

    prompt: str
    answers: dict[str, tuple[Trajectory, ...]]

    def rows(self) -> Iterator[str]:
        """A line of JSON for each sample."""
        for model, samples in self.answers.items():
            for sample in samples:
                row = {"model": model, "prompt": self.prompt, "sample": sample.sample_index, "response": sample.text}
                row |= {"finish_reason": sample.finish_reason, "tokens": sample.response_length}
                yield json.dumps(row, ensure_ascii=False)

    def show(self) -> None:
        """The prompt, and a table with a column for each model."""
        console = Console()
        for line in text_lines("prompt", self.prompt):
            console.print(Text(line), soft_wrap=True)
        table = Table(*map(escape, self.answers), show_lines=True)
        for together in zip(*self.answers.values(), strict=True):
            table.add_row(*(Text(_shown(sample), overflow="fold") for sample in together))
        console.print(table)


Asked = tuple[Sampler, tuple[Prompt, ...]]
"""A model, and the prompts as it is shown them."""


def prepared(
    models: Sequence[str],
    prompts: Sequence[str],
    n: int,
    settings: Sequence[Override],
    system: str | None = None,
    plain: bool = False,
) -> list[Asked]:
    """Whatever is wrong with any model or prompt is found before one starts. Raises ConfigError, and RunError for a run
    without a model."""
    if not prompts:
        raise ConfigError("which prompt? give --prompt TEXT, several times for several")
    samplers = [Sampler.prepare(name, path, settings, system, plain) for name, path in model_paths(models).items()]
    if n > 1 and samplers[0].experiment.sampling.temperature == 0:
        raise ConfigError(f"--n {n}: at temperature 0 all samples of a prompt are equal; leave it out, or raise that")
    return [(one, tuple(one.prompt(str(number), text) for number, text in enumerate(prompts))) for one in samplers]


def sample(asked: Sequence[Asked], prompts: Sequence[str], n: int, spawn: Spawn) -> list[Answered]:
    """`n` samples of each prompt from each model, one model after the other. Seeds are derived from `seed`, the prompt
    and the sample's number, so they are the same for every model."""
    answers: dict[str, list[tuple[Trajectory, ...]]] = {}
    for one, rendered in asked:
        with one.started(spawn) as rollout:
            answers[one.name] = one.answers(rollout, rendered, n, TAG)
    return [
        Answered(prompt, {name: found[number] for name, found in answers.items()})
        for number, prompt in enumerate(prompts)
    ]


def _shown(sample: Trajectory) -> str:
    cut = " [cut off: --max-tokens]" if sample.finish_reason == "length" else ""
    return printable(sample.text) + cut
