"""`python -m benchmarks.preference`: every preference loss, from one supervised model, on the same pairs; one table of how far each came.

The task is the playground's `letters`. The supervised model samples two answers to each prompt, and the task's gold reward says which is better;
online DPO samples its own, and takes the gold reward. The actors are started once: each run loads the state that they had at the start (weights,
optimizer, schedule, random states), so it is the run that it would be by itself. The losses' settings are not tuned against each other: the
table shows that each works, not which is best.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.child import REPOSITORY
from benchmarks.preference.outcome import Outcome, answers_of, outcome
from rlsys.algorithm import build_algorithm
from rlsys.config.dataset import DatasetConfig
from rlsys.config.load import load
from rlsys.config.models import Experiment
from rlsys.data.load import load_comparisons
from rlsys.errors import ConfigError, RlsysError
from rlsys.files import to_json, write_whole
from rlsys.models.load import load_tokenizer
from rlsys.playground.letters import prompts, split
from rlsys.roles import Roles
from rlsys.run_dir import RunDir
from rlsys.spawning import SpawnRequest
from rlsys.train import train

STAGE = "stage={{name: {name}, batch_size: {batch_size}, max_tokens: 32, {settings}}}"
LOSSES = {
    "dpo": "beta: 0.5",
    "cdpo": "beta: 0.5, label_smoothing: 0.1",
    "robust": "beta: 0.5, label_smoothing: 0.1",
    "hinge": "beta: 1.0",
    "ipo": "beta: 0.2",
    "orpo": "beta: 4.0",
    "simpo": "beta: 2.0, gamma: 0.3, sft_weight: 0.5",
}
"""Of the stage `preference`, by kind. SimPO has nothing that holds it to the start, so it imitates the chosen answers, too."""
ONLINE = "online_dpo"
PAIRS = {"train": 24, "test": 3}
"""Steps of sampling, of 256 prompts each, by split."""
SFT_STEPS, SAMPLES, BATCH = 150, 4, 128
CONFIGS, BY = REPOSITORY / "configs", "benchmarks.preference"


def main(
    seed: Annotated[int, typer.Option(help="Of the runs.")] = 0,
    only: Annotated[list[str] | None, typer.Option(help="Train by this loss; may be given several times.")] = None,
    output: Annotated[Path, typer.Option(help="Folder in which the demo's folder is made.")] = Path("runs"),
    steps: Annotated[int, typer.Option(min=1, help="Of each loss.")] = 50,
) -> None:
    """Every preference loss on one task, in one table."""
    try:
        from actors.spawn import spawn

        names = list(only or (*LOSSES, "kto", ONLINE))
        if unknown := [name for name in names if name not in (*LOSSES, "kto", ONLINE)]:
            raise ConfigError(f"--only {unknown[0]}: no such loss; there are {', '.join((*LOSSES, 'kto', ONLINE))}")
        folder = RunDir.create(output.absolute(), f"demo-preference-{seed}").path
        sft = load(CONFIGS / "demo_rlhf_sft.yaml", given(folder, "sft", seed, SFT_STEPS), by=BY)
        model = Path(train(sft, spawn)["model"])
        widest = online(folder, model, seed, steps)
        pad_id = load_tokenizer(model).pad_token_id
        assert isinstance(pad_id, int), "load_tokenizer sees to it that there is a pad token"
        request = SpawnRequest(build_algorithm(widest, 0).needs, model, steps, pad_id)
        with spawn(widest, request) as roles:
            shared = again(roles, folder / "start")
            for name, own in PAIRS.items():
                train(sampling(folder, model, seed, name, own), shared)
            experiments = {**offline(folder, model, seed, steps), ONLINE: widest}
            for name in names:
                train(experiments[name], shared)
        report(folder, model, names, seed, Console())
    except RlsysError as error:
        typer.echo(str(error), err=True)
        sys.exit(2 if isinstance(error, ConfigError) else 1)


def given(folder: Path, name: str, seed: int, steps: int) -> list[str]:
    return [f"name={name}", f"output={folder}", f"seed={seed}", f"loop.steps={steps}"]


def online(folder: Path, model: Path, seed: int, steps: int) -> Experiment:
    """It needs every role that any of the runs needs."""
    own = [*given(folder, ONLINE, seed, steps), f"model.path={model}", "data.eval=null"]
    return load(CONFIGS / "demo_preference_online.yaml", own, by=BY)


def sampling(folder: Path, model: Path, seed: int, split: str, steps: int) -> Experiment:
    """Makes the pairs of a split."""
    own = [*given(folder, pairs_of(split), seed, steps), f"model.path={model}", f"data.train.split={split}"]
    return load(CONFIGS / "demo_rlhf_prefer.yaml", own, by=BY)


def pairs_of(split: str) -> str:
    return f"pairs-{split}"


def offline(folder: Path, model: Path, seed: int, steps: int) -> dict[str, Experiment]:
    """By name; the pairs must be there."""
    stages = {name: STAGE.format(name="preference", batch_size=BATCH, settings=f"kind: {name}, {own}") for name, own in LOSSES.items()}
    stages["kto"] = STAGE.format(name="kto", batch_size=2 * BATCH, settings="beta: 0.5")
    train_on, eval_on = (RunDir(folder / pairs_of(split)).dataset for split in PAIRS)
    common = [f"model.path={model}", f"data.train.path={train_on}", f"data.eval={{path: {eval_on}}}"]
    return {
        name: load(CONFIGS / "demo_preference.yaml", [*given(folder, name, seed, steps), *common, stage], by=BY)
        for name, stage in stages.items()
    }


def again(roles: Roles, start: Path) -> Any:
    """A `Spawn` that starts nothing: it puts the policy back to where it was, the sampler too, and hands out the roles that a run needs."""
    assert roles.policy is not None
    roles.policy.save_state(start)

    @contextmanager
    def spawn(experiment: Experiment, request: SpawnRequest) -> Iterator[Roles]:
        assert roles.policy is not None
        roles.policy.load_state(start)
        if roles.weight_sync is not None and "rollout" in request.needs:
            roles.weight_sync.sync(0)  # a run that trains nothing would not
        unused = {role: None for role in ("policy", "reference", "rollout", "reward") if role not in request.needs}
        yield replace(roles, **unused, weight_sync=roles.weight_sync if request.needs >= {"policy", "rollout"} else None)

    return spawn


def report(folder: Path, model: Path, names: list[str], seed: int, console: Console) -> None:
    """The table, and the same as JSON in the demo's folder."""
    pairs = DatasetConfig(path=str(RunDir(folder / pairs_of("test")).dataset))
    held_out = load_comparisons(pairs, load_tokenizer(model), 32, True, None).rows
    letters = [one for one in prompts() if split(one) == "test"]
    started = time.monotonic()
    start = answers_of(model, held_out, letters, SAMPLES, seed)
    found = {"start": outcome(start, start, held_out)}
    for name in names:
        found[name] = outcome(answers_of(folder / name / "final", held_out, letters, SAMPLES, seed), start, held_out)
    console.print(table(found, f"preference losses on {len(held_out)} held-out pairs and {len(letters)} held-out prompts, seed {seed}"))
    file = folder / "preference.json"
    write_whole(file, to_json({"seed": seed, "outcomes": {name: asdict(one) for name, one in found.items()}}, indent=1) + "\n")
    console.print(f"saved as {file}; measured in {time.monotonic() - started:.0f} s")


def table(found: dict[str, Outcome], title: str) -> Table:
    made = Table("loss", "better answer likelier", "better answer gained more", "gold reward", "gold win rate", title=title)
    for name, one in found.items():
        made.add_row(name, f"{one.likelier:.3f}", f"{one.preferred:.3f}", f"{one.gold:.2f}", f"{one.win_rate:.3f}")
    return made


if __name__ == "__main__":
    typer.run(main)
