"""`python -m benchmarks.over_optimization.stop`: does `loop.stop_when` end PPO before gold falls by a tenth? One base
and one reward model, several seeds of PPO."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.command import Quick, run_command
from benchmarks.over_optimization import data
from rlsys.check.load import load
from rlsys.files import to_json, write_whole
from rlsys.run.folder import RunDir
from rlsys.run.metrics import MetricsLog
from rlsys.run.recipe import run_recipe
from rlsys.run.train import train

HERE = Path(__file__).parent
FALL = 0.1
"""Of gold, from its best so far."""
QUICK = ("base.loop.steps=2", "sft.loop.steps=2", "reward_model.loop.steps=2")
HEADER = (
    "seed",
    "steps",
    "ended by",
    "gap there",
    "KL there",
    "gold at the start",
    "best gold",
    "gold at the end",
    "fell by",
)


@dataclass(frozen=True, slots=True)
class Stopped:
    """A run as its evaluations saw it."""

    seed: int
    steps: int
    reason: str | None
    """None: it went to its last step."""
    gap: float
    kl: float
    start: float
    best: float
    end: float

    @property
    def fell_by(self) -> float:
        """From its best to the end, as a share of the best."""
        return (self.best - self.end) / abs(self.best)

    @property
    def in_time(self) -> bool:
        return self.reason is not None and self.fell_by < FALL


def main(
    seeds: Annotated[str, typer.Option(help="Of PPO, with commas.")] = "3,4,5",
    start: Annotated[Path | None, typer.Option(help="Take base and reward model of this earlier run.")] = None,
    free: Annotated[bool, typer.Option("--free", help="Without the stop, to see what it saves from.")] = False,
    output: Annotated[Path, typer.Option(help="Folder in which the runs' folders are made.")] = Path("runs"),
    quick: Quick = False,
) -> None:
    """Stop PPO by the gap between the reward and what it stands for."""
    from actors.spawn import spawn

    if start is None:
        files = data.write(output / "over-optimization-data-0", 0)
        given = [
            f"output={output}",
            f"base.data.train.path={files['base']}",
            f"sft.data.train.path={files['sft']}",
            f"reward_model.data.train.path={files['comparisons_train']}",
            f"reward_model.data.eval={{path: {files['comparisons_test']}}}",
        ]
        start = Path(run_recipe(HERE / "stop.yaml", [*given, *(QUICK if quick else ())], spawn)["run"])
    found = []
    for seed in (int(one) for one in seeds.split(",")):
        own = [
            f"seed={seed}",
            f"output={output}",
            f"model.path={start / 'sft' / 'final'}",
            f"reward_models.0.path={start / 'reward_model' / 'final'}",
            *(["loop.stop_when=[]"] if free else []),
            *(["loop.steps=2", "evaluation.prompts=16", "method.prompts_per_step=16"] if quick else []),
        ]
        summary = train(load(HERE / "stopped_ppo.yaml", own), spawn)
        found.append(stopped(seed, MetricsLog.read(RunDir(Path(summary["run"])).metrics), summary["done"]))
    file = output / f"stopped{'_free' if free else ''}.json"
    write_whole(file, to_json({"runs": [asdict(one) for one in found]}, indent=1) + "\n")
    Console().print(table(found))
    Console().print(f"in time: {sum(one.in_time for one in found)} of {len(found)}; saved as {file}", soft_wrap=True)


def stopped(seed: int, records: Sequence[Mapping[str, Any]], done: str | None) -> Stopped:
    """`records`: of metrics.jsonl; `done`: why the run ended."""
    seen = [one for one in records if "eval/gold_sampled" in one]
    gold = [one["eval/gold_sampled"] for one in seen]
    last = seen[-1]
    gap, kl = last["eval/proxy_gap_sampled"], last["eval/kl_sampled"]
    return Stopped(seed, last["step"], done or None, gap, kl, gold[0], max(gold), gold[-1])


def table(found: Sequence[Stopped]) -> Table:
    made = Table(*HEADER)
    for one in found:
        numbers = (one.gap, one.kl, one.start, one.best, one.end)
        made.add_row(
            str(one.seed),
            str(one.steps),
            "the last step" if one.reason is None else "the stop",
            *(f"{value:.2f}" for value in numbers),
            f"{one.fell_by:.0%}",
        )
    return made


if __name__ == "__main__":
    run_command(main)
