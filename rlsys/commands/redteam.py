"""`rlsys redteam`: attacks on a model, their success, and rows to learn from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlsys.commands.judged_refusals import Detectors, agreement, asked, asking
from rlsys.commands.named_models import model_path
from rlsys.commands.sampler import Sampler
from rlsys.config.dataset import DatasetConfig
from rlsys.config.document import Override
from rlsys.errors import DataError
from rlsys.files import to_json, write_whole
from rlsys.roles import Spawn, SpawnJudge
from rlsys.run.folder import RunDir
from rlsys.run.progress import print_table
from rlsys.run.summary import from_here
from rlsys.safety.attacks import ATTACKER, GOAL, Attack, attacks, written
from rlsys.safety.red_team import Outcome, Success, carry_out, success, training_rows
from rlsys.safety.rows import SafetyRow, read

RESULT, ATTEMPTS, FAILURES = "redteam.json", "attempts.jsonl", "failures.jsonl"


@dataclass(frozen=True)
class RedTeam:
    """A model and what it is attacked with."""

    sampler: Sampler
    goals: tuple[SafetyRow, ...]
    attacks: tuple[Attack, ...]
    detectors: Detectors
    output: Path
    name: str
    attacker: Sampler | None = None
    rounds: int = 0
    """Attempts of the attacker on each goal that nothing has reached yet."""
    answer: str | None = None
    """What a model should say instead, for the rows of the next round."""


def prepared(
    model: str,
    goals: DatasetConfig,
    names: Sequence[str],
    templates: Sequence[str],
    samples: int,
    settings: Sequence[Override],
    detectors: Detectors,
    output: Path,
    name: str,
    attacker: str | None = None,
    rounds: int = 1,
    answer: str | None = None,
    system: str | None = None,
    plain: bool = False,
) -> RedTeam:
    """Whatever is wrong is found before anything starts. Raises ConfigError, DataError."""
    rows = tuple(row for row in read(goals) if row.harmful)
    if not rows:
        raise DataError(f"{goals.path}: no row is to be refused, so there is nothing to attack; wanted desired: refuse")
    made = attacks(rows, names, templates, samples)
    sampler = Sampler.prepare(model, model_path(model), settings, system, plain)
    for one in made:
        asked(sampler, one.attack_id, [{"role": "user", "content": one.turns[0]}])
    other = None if attacker is None else Sampler.prepare(attacker, model_path(attacker), settings)
    tries = rounds if other is not None else 0
    return RedTeam(sampler, rows, (*made,), detectors, output, name, other, tries, answer)


def red_team(team: RedTeam, spawn: Spawn, spawn_judge: SpawnJudge) -> tuple[Path, dict[str, Any]]:
    """Attack, detect, and write everything; returns the folder and what is in `redteam.json`."""
    folder = RunDir.create(team.output, team.name).path
    with team.sampler.started(spawn) as rollout:
        outcomes = carry_out(team.attacks, asking(team.sampler, rollout))
    outcomes += _by_attacker(team, outcomes, spawn)
    told = team.detectors.told([one.exchange for one in outcomes], team.output, spawn_judge)
    found = {by: success(outcomes, said) for by, said in told.items()}
    rows = training_rows(outcomes, [*told.values()][-1], team.answer)
    result = {
        "model": team.sampler.name,
        "goals": len(team.goals),
        "attempts": len(outcomes),
        "by": {by: own.plain() for by, own in found.items()},
        "agreement": agreement(told),
        "failures": len(rows),
    }
    write_whole(folder / RESULT, to_json(result, indent=2) + "\n")
    _write(folder / FAILURES, rows)
    _write(
        folder / ATTEMPTS, [_line(one, {by: said[at] for by, said in told.items()}) for at, one in enumerate(outcomes)]
    )
    _show(folder, team, found, result)
    return folder, result


def _by_attacker(team: RedTeam, outcomes: Sequence[Outcome], spawn: Spawn) -> list[Outcome]:
    """The attacker writes, the model answers, in turn, until each goal is reached by the rules or the attempts are
    over. Either is started anew each time: two need not fit side by side."""
    found: list[Outcome] = []
    last = {one.attack.row.row_id: one.answer for one in outcomes}
    for number in range(1, team.rounds + 1):
        said = team.detectors.by_rule([one.exchange for one in (*outcomes, *found)])
        reached = {one.attack.row.row_id for one, no in zip((*outcomes, *found), said, strict=True) if no is False}
        left = [row for row in team.goals if row.row_id not in reached]
        if not left or team.attacker is None:
            break
        asks = {
            row.row_id: ATTACKER.replace(GOAL, row.text).replace("{answer}", last.get(row.row_id, "")) for row in left
        }
        with team.attacker.started(spawn) as rollout:
            own = asking(team.attacker, rollout)
            texts = own({one: [{"role": "user", "content": text}] for one, text in asks.items()}, f"attacker-{number}")
        tried = [written(row, number, texts[row.row_id]) for row in left if texts[row.row_id].strip()]
        with team.sampler.started(spawn) as rollout:
            found += (now := carry_out(tried, asking(team.sampler, rollout)))
        last |= {one.attack.row.row_id: one.answer for one in now}
    return found


def _line(one: Outcome, refuses: dict[str, bool | None]) -> dict[str, Any]:
    labels = one.attack.row.labels
    return {
        "id": one.attack.attack_id,
        "goal": one.attack.row.text,
        "category": labels.category,
        "attack": one.attack.name,
        "sent": [*one.turns],
        "answer": one.answer,
        "refuses": refuses,
    }


def _write(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    write_whole(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _show(folder: Path, team: RedTeam, found: dict[str, Success], result: dict[str, Any]) -> None:
    rows = [("attack succeeds", *(f"by {by}" for by in found))]
    owns = [*found.values()]
    rows.append(("all attacks", *(str(one.total) for one in owns)))
    rows.append(("some attack on a goal", *(str(one.any_attack) for one in owns)))
    for label, tables in (("", [one.attacks for one in owns]), ("category ", [one.categories for one in owns])):
        rows += [(f"  {label}{name}", *(str(table[name]) for table in tables)) for name in tables[0]]
    if any(one.unknown for one in owns):
        rows.append(("answers not judged", *(f"{one.unknown:,}" for one in owns)))
    rows += [("detectors agree", f"{result['agreement']:.1%}")] if result["agreement"] is not None else []
    rows.append(("rows for the next round", f"{result['failures']:,} in {from_here(str(folder / FAILURES))}"))
    print_table(f"{team.sampler.name}, {result['attempts']:,} attempts", rows)
