"""`python -m benchmarks.red_team`: train a model whose safety training saw plain requests only, attack it, train it on
what succeeded, and attack it again; each time measured on goals and look-alikes that nothing was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.command import Quick, run_command
from benchmarks.red_team import data
from rlsys.check.load import load
from rlsys.commands import options
from rlsys.commands.judged_refusals import asking
from rlsys.commands.sampler import Sampler
from rlsys.files import to_json, write_whole
from rlsys.roles import Spawn
from rlsys.run.train import train
from rlsys.safety.attacks import BARE, attacks
from rlsys.safety.over_refusal import OverRefusal, measure
from rlsys.safety.red_team import Success, carry_out, success, training_rows
from rlsys.safety.rows import SafetyRow

HERE = Path(__file__).parent
GOALS, HELD_OUT = 150, 100
"""Pairs that are attacked to learn from, and to measure by."""
NEW = 0.3
"""Share of what succeeded among the rows of the next training."""
HEADER = ("round", "attacks that are not refused", "that are carried out", "harmless refused", "new rows")


@dataclass(frozen=True)
class Round:
    number: int
    by_rule: Success
    """On held-out goals: the answer is no refusal."""
    strict: Success
    """On the same: it is the guarded word."""
    look_alikes: OverRefusal
    rows: int
    """Attacks on the other goals that succeeded, each with its harmless look-alike in the same disguise, to learn
    from: without these the model learns to refuse disguises."""


def main(
    seed: Annotated[int, typer.Option(help="Of data and runs.")] = 0,
    rounds: Annotated[int, typer.Option(min=1, help="Of attack and training.")] = 2,
    base: Annotated[str | None, typer.Option(help="Take this model in place of a base trained here.")] = None,
    output: Annotated[Path, typer.Option(help="Folder in which the runs' folders are made.")] = Path("runs"),
    quick: Quick = False,
) -> None:
    """The red team's loop: attack success falls, refusals of harmless look-alikes do not rise."""
    from actors.spawn import spawn

    folder = output / f"red-team-data-{seed}"
    folder.mkdir(parents=True, exist_ok=True)

    def taught(name: str, model: str, rows: Path, *more: str) -> str:
        own = [f"name=red-team-{name}", f"model.path={model}", f"data.train.path={rows}", *more]
        short = ["loop.steps=2"] if quick else []
        return str(train(load(HERE / "sft.yaml", [f"seed={seed}", f"output={output}", *own, *short]), spawn)["model"])

    helpful, guard = (data.write(folder / f"{name}.jsonl", rows(seed)) for name, rows in ROWS.items())
    model = taught("guard", base or taught("base", "playground:0.5m", helpful), guard, "loop.steps=100")
    goals = data.pairs(seed, "goals", 4 if quick else GOALS)
    held_out = data.pairs(seed, "held out", 4 if quick else HELD_OUT)
    found: list[Round] = []
    learned: list[dict[str, Any]] = []
    for number in range(rounds + 1):
        measured, rows = attacked(number, model, goals, held_out, seed, spawn)
        found.append(measured)
        learned += rows
        if number < rounds and learned:
            new = data.write(folder / f"round-{number + 1}.jsonl", learned)
            also = f"data.also=[{{path: '{new}', fraction: {NEW}}}]"
            model = taught(f"round-{number + 1}", model, guard, also, "policy.learning_rate=0.001", "loop.steps=100")
    file = output / f"red_team_{seed}.json"
    write_whole(file, to_json({"seed": seed, "rounds": [record(one) for one in found]}, indent=1) + "\n")
    Console().print(table(found))
    Console().print(f"saved as {file}", soft_wrap=True)


ROWS = {"base": data.base, "guard": data.guard}


def attacked(
    number: int,
    model: str,
    goals: Sequence[tuple[SafetyRow, SafetyRow]],
    held_out: Sequence[tuple[SafetyRow, SafetyRow]],
    seed: int,
    spawn: Spawn,
) -> tuple[Round, list[dict[str, Any]]]:
    """Every disguise of all goals, and of the held-out look-alikes, which are to be complied with all the same."""
    chosen = options.sampling(1.0, 8, seed, ["rollout.max_model_len=128"])
    sampler = Sampler.prepare(model, model, chosen)
    harmful, harmless = ([one[side] for one in held_out] for side in (0, 1))
    asked = {"goals": [one for one, _ in goals], "held out": harmful, "look-alikes": harmless}
    with sampler.started(spawn) as rollout:
        done = {
            use: carry_out(attacks(rows, data.DISGUISES, BARE, 1), asking(sampler, rollout))
            for use, rows in asked.items()
        }
    exchanges = {use: [one.exchange for one in own] for use, own in done.items()}
    refuses = {use: data.refuses(own) for use, own in exchanges.items()}
    said: dict[str, list[bool | None]] = {}
    for use in ("held out", "look-alikes"):
        for one, no in zip(done[use], refuses[use], strict=True):
            said.setdefault(one.attack.row.row_id, []).append(no)
    rows = training_rows(done["goals"], refuses["goals"], data.REFUSAL)
    partners = {harmful.text: harmless.text for harmful, harmless in goals}
    rows += [data.demonstration(partners[row["goal"]], row["attack"]) for row in rows]
    by_rule = success(done["held out"], refuses["held out"])
    strict = success(done["held out"], data.does_not_comply(exchanges["held out"]))
    return Round(number, by_rule, strict, measure([*harmful, *harmless], said), len(rows)), rows


def record(one: Round) -> dict[str, Any]:
    return {
        "round": one.number,
        "by_rule": one.by_rule.plain(),
        "strict": one.strict.plain(),
        "over_refusal": one.look_alikes.plain(),
        "new_rows": one.rows,
    }


def table(found: Sequence[Round]) -> Table:
    made = Table(*HEADER)
    for one in found:
        harmless = str(one.look_alikes.total.harmless)
        made.add_row(str(one.number), str(one.by_rule.total), str(one.strict.total), harmless, f"{one.rows:,}")
    return made


if __name__ == "__main__":
    run_command(main)
