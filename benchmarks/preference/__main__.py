"""`python -m benchmarks.preference`: every preference loss, from one supervised model, on the same pairs; one table of
how far each came.

The task is the playground's `letters`. The supervised model samples two answers to each prompt, and the task's gold
reward says which is better; online DPO samples its own, and takes the gold reward. The actors are started once: each
run loads the state that they had at the start (weights, optimizer, schedule, random states), so it is the run that it
would be by itself. The losses' settings are not tuned against each other: the table shows that each works, not which is
best.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.child import REPOSITORY
from benchmarks.command import Quick, run_command
from benchmarks.preference.outcome import Outcome, answers_of, outcome
from benchmarks.shared_actors import sharing
from rlsys.check.load import load
from rlsys.check.recipe import load_stage
from rlsys.config.dataset import DatasetConfig
from rlsys.config.experiment import Experiment
from rlsys.data.load import load_comparisons
from rlsys.errors import ConfigError, did_you_mean
from rlsys.files import to_json, write_whole
from rlsys.models.load import load_tokenizer
from rlsys.playground.letters import prompts, split
from rlsys.roles import SpawnRequest
from rlsys.run.folder import RunDir
from rlsys.run.train import train

LOSSES = {
    "dpo": "beta: 0.5",
    "cdpo": "beta: 0.5, label_smoothing: 0.1",
    "robust_dpo": "beta: 0.5, label_smoothing: 0.1",
    "slic": "beta: 1.0",
    "ipo": "beta: 0.2",
    "orpo": "beta: 4.0",
    "simpo": "beta: 2.0, gamma: 0.3, sft_weight: 0.5",
    "kto": "beta: 0.5",
}
"""Methods that learn from given answers, and their settings. SimPO has nothing that holds it to the start, so it
imitates the chosen answers, too."""
ONLINE = "online_dpo"
SAMPLES = 4
"""Per held-out prompt, of each model."""
CONFIGS, BY = REPOSITORY / "configs", "benchmarks.preference"
RLHF = CONFIGS / "rlhf" / "demo.yaml"


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything."""

    sft_steps: int
    prompts: int
    """Of one step of sampling pairs."""
    pair_steps: dict[str, int]
    """Steps of sampling, by split."""
    batch: int
    """Pairs of one step of a loss; of KTO twice as many answers."""
    steps: int
    """Of each loss."""
    held_out: int
    """Most prompts that the models are asked to compare them."""


FULL = Size(150, 256, {"train": 24, "test": 3}, 128, 50, 1000)
QUICK = Size(2, 64, {"train": 1, "test": 1}, 8, 2, 8)


@dataclass(frozen=True, slots=True)
class Demo:
    """The experiments of one call, all in one folder."""

    folder: Path
    seed: int
    steps: int
    """Of each loss."""
    size: Size

    def given(self, name: str, steps: int) -> list[str]:
        return [f"name={name}", f"output={self.folder}", f"seed={self.seed}", f"loop.steps={steps}"]

    def sft(self) -> Experiment:
        return load_stage(RLHF, "sft", self.given("sft", self.size.sft_steps), by=BY)

    def sampling(self, model: Path, split: str) -> Experiment:
        """Makes the pairs of a split."""
        own = [f"model.path={model}", f"data.train.split={split}", f"method.prompts_per_step={self.size.prompts}"]
        return load_stage(RLHF, "prefer", [*self.given(pairs_of(split), self.size.pair_steps[split]), *own], by=BY)

    def online(self, model: Path) -> Experiment:
        """It needs every role that any of the runs needs."""
        own = [f"model.path={model}", "data.eval=null", f"method.prompts_per_step={self.size.batch}"]
        return load(CONFIGS / "online_dpo" / "demo.yaml", [*self.given(ONLINE, self.steps), *own], by=BY)

    def offline(self, model: Path, name: str) -> Experiment:
        """One of `LOSSES`; the pairs must be there."""
        train_on, eval_on = (RunDir(self.folder / pairs_of(split)).dataset for split in self.size.pair_steps)
        batch = self.size.batch * (2 if name == "kto" else 1)
        own = [
            f"model.path={model}",
            f"data.train.path={train_on}",
            f"data.eval={{path: {eval_on}}}",
            f"method={{name: {name}, batch_size: {batch}, max_tokens: 32, {LOSSES[name]}}}",
        ]
        return load(CONFIGS / "dpo" / "demo.yaml", [*self.given(name, self.steps), *own], by=BY)


def main(
    seed: Annotated[int, typer.Option(help="Of the runs.")] = 0,
    only: Annotated[list[str] | None, typer.Option(help="Train by this loss; may be given several times.")] = None,
    output: Annotated[Path, typer.Option(help="Folder in which the demo's folder is made.")] = Path("runs"),
    steps: Annotated[int | None, typer.Option(min=1, help="Of each loss.", show_default=str(FULL.steps))] = None,
    quick: Quick = False,
) -> None:
    """Every preference loss on one task, in one table."""
    from actors.spawn import spawn

    known = (*LOSSES, ONLINE)
    names, size = list(only or known), QUICK if quick else FULL
    if unknown := [name for name in names if name not in known]:
        hint = did_you_mean(unknown[0], known)
        raise ConfigError(f"--only {unknown[0]}: no such loss{hint} (there are {', '.join(known)})")
    folder = RunDir.create(output.absolute(), f"demo-preference-{seed}").path
    demo = Demo(folder, seed, steps or size.steps, size)
    model = Path(train(demo.sft(), spawn)["model"])
    widest = demo.online(model)
    pad_id = load_tokenizer(model).pad_token_id
    assert isinstance(pad_id, int), "load_tokenizer sees to it that there is a pad token"
    with spawn(widest, SpawnRequest(widest.method.facts.needs, model, demo.steps, pad_id)) as roles:
        shared = sharing(roles, folder / "start")
        for split in size.pair_steps:
            train(demo.sampling(model, split), shared)
        for name in names:
            train(widest if name == ONLINE else demo.offline(model, name), shared)
    report(demo, model, names, Console())


def pairs_of(split: str) -> str:
    return f"pairs-{split}"


def report(demo: Demo, model: Path, names: list[str], console: Console) -> None:
    """The table, and the same as JSON in the demo's folder."""
    folder, seed = demo.folder, demo.seed
    pairs = DatasetConfig(path=str(RunDir(folder / pairs_of("test")).dataset))
    held_out = load_comparisons(pairs, load_tokenizer(model), 32, True, None).rows
    letters = [one for one in prompts() if split(one) == "test"][: demo.size.held_out]
    started = time.monotonic()
    start = answers_of(model, held_out, letters, SAMPLES, seed)
    found = {"start": outcome(start, start, held_out)}
    for name in names:
        found[name] = outcome(answers_of(folder / name / "final", held_out, letters, SAMPLES, seed), start, held_out)
    shown = f"preference losses on {len(held_out)} held-out pairs and {len(letters)} held-out prompts, seed {seed}"
    console.print(table(found, shown))
    file = folder / "preference.json"
    outcomes = {name: asdict(one) for name, one in found.items()}
    write_whole(file, to_json({"seed": seed, "outcomes": outcomes}, indent=1) + "\n")
    console.print(f"saved as {file}; measured in {time.monotonic() - started:.0f} s")


def table(found: dict[str, Outcome], title: str) -> Table:
    made = Table(
        "loss", "better answer likelier", "better answer gained more", "gold reward", "gold win rate", title=title
    )
    for name, one in found.items():
        made.add_row(name, f"{one.likelier:.3f}", f"{one.preferred:.3f}", f"{one.gold:.2f}", f"{one.win_rate:.3f}")
    return made


if __name__ == "__main__":
    run_command(main)
