"""`python -m benchmarks.adapter_kinds`: train every kind of adapter, and all weights beside them, by four methods on
the playground, and print what each learned as a Markdown table.

Each run is one of `recipe.yaml`'s stages, from the same base. Figures are of held-out rows, before the first step and
after the last. What was run before is not run again. Each kind has one learning rate for all methods, the best for SFT
of two or three that were tried, or a little less. The table shows that each kind learns, not which is best.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.adapter_kinds.data import with_biases, write_pairs
from benchmarks.command import Quick, run_command
from rlsys import registry
from rlsys.check.recipe import load_stage
from rlsys.config.experiment import Experiment
from rlsys.errors import ConfigError, did_you_mean
from rlsys.files import to_json, write_whole
from rlsys.models.adapters.base import PACKAGE
from rlsys.models.adapters.shared.files import ADAPTER, WEIGHTS
from rlsys.models.cost import cost, placed
from rlsys.roles import Spawn
from rlsys.run.folder import RunDir
from rlsys.run.metrics import MetricsLog
from rlsys.run.train import train

RECIPE = Path(__file__).parent / "recipe.yaml"
FULL, BIASED = "full", "bitfit"
"""All weights; and the kind that needs a model with biases."""


@dataclass(frozen=True, slots=True)
class Method:
    """One stage of the recipe."""

    measure: str
    title: str


METHODS = {
    "sft": Method("eval/nll", "SFT: loss, nats per token"),
    "dpo": Method("eval/accuracy", "DPO: pairs ordered rightly"),
    "reward_model": Method("eval/accuracy", "reward model: pairs ordered rightly"),
    "grpo": Method("eval/accuracy_sampled", "GRPO: right answers"),
}
OF_PAIRS = ("dpo", "reward_model")
RATES = {
    FULL: 3e-4,
    "lora": 3e-3,
    "rslora": 1e-3,
    "dora": 3e-3,
    "lora_plus": 1e-3,
    "qlora": 3e-3,
    "vera": 3e-2,
    "ia3": 5e-2,
    "bitfit": 1e-2,
    "freeze": 5e-4,
    "bottleneck": 3e-3,
    "prompt": 5e-2,
    "p_tuning": 1e-2,
    "prefix": 3e-3,
    "p_tuning_v2": 3e-2,
}
"""Learning rate of each kind, by every method."""
SETTINGS = {"freeze": "layers: 1"}
"""What a kind must be told."""
SEEDS: dict[str, int] = dict.fromkeys(("lora", "rslora", "dora", "lora_plus"), 3)
"""Of these kinds; of the others one."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one run."""

    before: float
    after: float
    trained: int
    bytes: int
    """Of the adapter's file; of all weights where there is none."""


def main(
    only: Annotated[list[str] | None, typer.Option(help="Train this kind; may be given several times.")] = None,
    methods: Annotated[list[str] | None, typer.Option(help="By this method; may be given several times.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Most seeds of a kind.")] = 3,
    output: Annotated[Path, typer.Option(help="Folder of the runs; finished ones are not run again.")] = Path(
        "runs/adapter-kinds"
    ),
    quick: Quick = False,
) -> None:
    """Every kind of adapter by SFT, DPO, a reward model and GRPO, in one table."""
    from actors.spawn import spawn

    kinds, chosen = known("only", only, RATES), known("methods", methods, METHODS)
    runs, console = Runs(output.absolute(), spawn, quick), Console()
    found: dict[str, dict[str, list[Outcome]]] = {kind: {} for kind in kinds}
    for seed in range(seeds):
        for kind in kinds:
            for method in chosen if seed < SEEDS.get(kind, 1) else ():
                if refused(kind, method):
                    continue
                started = time.monotonic()
                outcome = runs.outcome(kind, method, seed)
                found[kind].setdefault(method, []).append(outcome)
                seconds = time.monotonic() - started
                told = f"{method}, {kind}, seed {seed}: {outcome.before:.3f} -> {outcome.after:.3f}"
                console.print(f"{told}  {seconds:.0f} s", highlight=False)
    plain = {
        kind: {method: [asdict(one) for one in outcomes] for method, outcomes in of_methods.items()}
        for kind, of_methods in found.items()
    }
    write_whole(runs.output / "adapter_kinds.json", to_json(plain, indent=1) + "\n")
    for line in table(found, chosen):
        print(line)


def known(option: str, given: Sequence[str] | None, names: Mapping[str, Any]) -> list[str]:
    """What was asked for; all of them unless anything was."""
    if unknown := [name for name in given or () if name not in names]:
        hint = did_you_mean(unknown[0], names)
        raise ConfigError(f"--{option} {unknown[0]}: no such one{hint} (there are {', '.join(names)})")
    return list(given or names)


def refused(kind: str, method: str) -> bool:
    """Whether the method would send its sampler what can't be merged."""
    return method == "grpo" and kind != FULL and registry.resolve(PACKAGE, kind, "Config").unmergeable is not None


@dataclass(frozen=True, slots=True)
class Runs:
    """The runs of one folder."""

    output: Path
    spawn: Spawn
    quick: bool

    def outcome(self, kind: str, method: str, seed: int) -> Outcome:
        base = self.base(kind == BIASED)
        adapter = "null" if kind == FULL else f"{{kind: {kind}, {SETTINGS.get(kind, '')}}}"
        own = [f"name={method}-{kind}-{seed}", f"seed={seed}", f"model.path={base}", f"model.adapter={adapter}"]
        if method in OF_PAIRS:
            pairs = write_pairs(self.output)
            own += [f"data.train.path={pairs['train']}", f"data.eval.path={pairs['test']}"]
        evaluated = ["loop.eval_every=1"] if self.quick else []
        experiment, folder = self.trained(method, [*own, f"policy.learning_rate={RATES[kind]}", *evaluated])
        key = METHODS[method].measure
        course = {line["step"]: line[key] for line in MetricsLog.read(folder.metrics) if key in line}
        heads = experiment.method.facts.heads if method == "reward_model" else None
        counted = cost(placed(experiment.model, base, heads), experiment.policy).trained
        own_file, whole = folder.final / ADAPTER / WEIGHTS, folder.final / "model.safetensors"
        size = (own_file if own_file.is_file() else whole).stat().st_size
        return Outcome(course[0], course[max(course)], counted, size)

    def base(self, biased: bool) -> Path:
        """The model that the others begin with."""
        name = "base_biased" if biased else "base"
        path = with_biases(self.output / "biased") if biased else "playground:0.5m"
        return self.trained("base", [f"name={name}", f"model.path={path}"])[1].final

    def trained(self, stage: str, overrides: list[str]) -> tuple[Experiment, RunDir]:
        """A finished run of the recipe's stage; one that was broken off is begun anew."""
        given = [f"output={self.output}", *overrides, *(["loop.steps=1"] if self.quick else [])]
        experiment = load_stage(RECIPE, stage, given, by="benchmarks.adapter_kinds")
        folder = RunDir(self.output / experiment.name)
        if not folder.summary.exists():
            shutil.rmtree(folder.path, ignore_errors=True)
            train(experiment, self.spawn)
        return experiment, folder


def table(found: Mapping[str, Mapping[str, list[Outcome]]], methods: Sequence[str]) -> Iterator[str]:
    """In Markdown. Means over seeds, and the range of the last figure where there are several."""
    header = ("kind", "trained", "MB", *(METHODS[method].title for method in methods))
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for kind, of_methods in found.items():
        if not of_methods:
            continue
        first = next(iter(of_methods.values()))[0]
        cells = ("refused" if refused(kind, method) else cell(of_methods.get(method, [])) for method in methods)
        yield f"| `{kind}` | {first.trained:,} | {first.bytes / 1e6:.3f} | {' | '.join(cells)} |"


def cell(outcomes: Sequence[Outcome]) -> str:
    if not outcomes:
        return "not run"
    after = [outcome.after for outcome in outcomes]
    spread = f" ({min(after):.3f} to {max(after):.3f})" if len(after) > 1 else ""
    return f"{fmean(outcome.before for outcome in outcomes):.3f} -> {fmean(after):.3f}{spread}"


if __name__ == "__main__":
    run_command(main)
