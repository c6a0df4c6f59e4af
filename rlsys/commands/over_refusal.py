"""`rlsys over-refusal`: how often models refuse harmful prompts, and how often their harmless look-alikes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlsys.commands.judged_refusals import Detectors, agreement
from rlsys.commands.named_models import model_paths
from rlsys.commands.sampler import Sampler
from rlsys.config.dataset import DatasetConfig
from rlsys.config.document import Override
from rlsys.files import to_json, write_whole
from rlsys.roles import Spawn, SpawnJudge
from rlsys.run.folder import RunDir
from rlsys.run.progress import print_table
from rlsys.run.summary import from_here
from rlsys.safety.over_refusal import OverRefusal, check_sides, measure
from rlsys.safety.plot import trade_off
from rlsys.safety.refusal import Exchange
from rlsys.safety.rows import SafetyRow, read
from rlsys.samples import Prompt

RESULT, PLOT, ANSWERS = "over_refusal.json", "over_refusal.svg", "answers.jsonl"
TAG = "over-refusal"


@dataclass(frozen=True)
class Asked:
    """Models, rows, and each row as each model is asked."""

    rows: tuple[SafetyRow, ...]
    models: tuple[tuple[Sampler, tuple[Prompt, ...]], ...]
    samples: int
    detectors: Detectors
    output: Path
    name: str


def prepared(
    models: Sequence[str],
    pairs: DatasetConfig,
    samples: int,
    settings: Sequence[Override],
    detectors: Detectors,
    output: Path,
    name: str,
    system: str | None = None,
    plain: bool = False,
) -> Asked:
    """Whatever is wrong with a model or row is found before one starts. Raises ConfigError, DataError."""
    rows = read(pairs)
    check_sides(rows, pairs.path)
    samplers = [Sampler.prepare(one, path, settings, system, plain) for one, path in model_paths(models).items()]
    prompts = [tuple(one.prompt(row.row_id, row.turns) for row in rows) for one in samplers]
    return Asked((*rows,), tuple(zip(samplers, prompts, strict=True)), samples, detectors, output, name)


def over_refusal(asked: Asked, spawn: Spawn, spawn_judge: SpawnJudge) -> tuple[Path, dict[str, Any]]:
    """Ask, detect, and write everything; returns the folder and what is in `over_refusal.json`."""
    folder = RunDir.create(asked.output, asked.name).path
    exchanges: list[tuple[str, str, Exchange]] = []
    for sampler, prompts in asked.models:
        with sampler.started(spawn) as rollout:
            answers = sampler.answers(rollout, prompts, asked.samples, TAG)
        for row, own in zip(asked.rows, answers, strict=True):
            for one in own:
                exchange = Exchange(f"{sampler.name}/{row.row_id}/{one.sample_index}", row.text, one.text)
                exchanges.append((sampler.name, row.row_id, exchange))
    told = asked.detectors.told([one for *_, one in exchanges], asked.output, spawn_judge)
    found = {name: _by_model(asked, exchanges, said) for name, said in told.items()}
    result = {
        "rows": len(asked.rows),
        "samples": asked.samples,
        "by": {name: {model: one.plain() for model, one in own.items()} for name, own in found.items()},
        "agreement": agreement(told),
    }
    write_whole(folder / RESULT, to_json(result, indent=2) + "\n")
    write_whole(folder / PLOT, trade_off([*found.values()][-1]))
    with (folder / ANSWERS).open("w", encoding="utf-8") as file:
        for place, (model, row_id, one) in enumerate(exchanges):
            refuses = {name: said[place] for name, said in told.items()}
            line = {"model": model, "row": row_id, "prompt": one.goal, "answer": one.answer, "refuses": refuses}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    _show(folder, found, result["agreement"])
    return folder, result


def _by_model(
    asked: Asked, exchanges: Sequence[tuple[str, str, Exchange]], said: Sequence[bool | None]
) -> dict[str, OverRefusal]:
    refused: dict[str, dict[str, list[bool | None]]] = {}
    for (model, row_id, _), one in zip(exchanges, said, strict=True):
        refused.setdefault(model, {}).setdefault(row_id, []).append(one)
    return {model: measure(asked.rows, own) for model, own in refused.items()}


def _show(folder: Path, found: Mapping[str, Mapping[str, OverRefusal]], agreeing: float | None) -> None:
    for by, models in found.items():
        rows = [("", "harmful prompts refused", "harmless prompts refused", "pairs told apart")]
        for model, own in models.items():
            apart = str(own.told_apart)
            rows.append((model, str(own.total.harmful), str(own.total.harmless), apart))
            rows += [(f"  {name}", str(one.harmful), str(one.harmless), "") for name, one in own.categories.items()]
            rows += [(f"  not known of {own.unknown:,} answers", "", "", "")] if own.unknown else []
        print_table(f"refusals by {by}", rows)
    told = [("results", from_here(str(folder / RESULT))), ("trade-off", from_here(str(folder / PLOT)))]
    print_table("", [*told, *([("detectors agree", f"{agreeing:.1%}")] if agreeing is not None else [])])
