"""The ledger's second table: every question to a judge and what came of it, each with its step and phase."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from rlsys.samples import ScoredGroup, Verdict

SCHEMA = """
CREATE TABLE IF NOT EXISTS verdicts (
    verdict_id TEXT PRIMARY KEY,
    step INTEGER NOT NULL,
    phase TEXT NOT NULL,
    kind TEXT NOT NULL,
    sample_ids TEXT NOT NULL,  -- JSON list, in the order in which they were shown
    principle TEXT,
    judge TEXT NOT NULL,
    prompt TEXT NOT NULL,      -- the messages, as JSON
    reply TEXT NOT NULL,
    log_probs TEXT NOT NULL,   -- JSON: nats by label
    value REAL,                -- NULL: there is none; `abstention` says why
    abstention TEXT,
    expected REAL,
    lengths TEXT NOT NULL,     -- JSON list: characters, in the order of sample_ids
    seconds REAL NOT NULL,
    cost REAL NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    cached INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS verdicts_by_step ON verdicts (step, phase);
CREATE INDEX IF NOT EXISTS verdicts_by_kind ON verdicts (kind);
"""
OWN = tuple(spec.name for spec in fields(Verdict))
JSON = ("sample_ids", "log_probs", "lengths")
COLUMNS = (*OWN, "step", "phase")
UPSERT = f"""
INSERT INTO verdicts ({", ".join(COLUMNS)}) VALUES ({", ".join(":" + name for name in COLUMNS)})
ON CONFLICT (verdict_id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in OWN[1:])}
WHERE step = excluded.step AND phase = excluded.phase
"""


def record(database: sqlite3.Connection, step: int, groups: Sequence[ScoredGroup], phase: str) -> None:
    """Write all verdicts of `groups` within the caller's transaction. Raises ValueError when a verdict id occurs twice,
    or belongs to another step or phase."""
    verdicts = [verdict for group in groups for verdict in group.verdicts]
    ids = [verdict.verdict_id for verdict in verdicts]
    if len(set(ids)) < len(ids):
        raise ValueError(f"step {step}: verdict id {max(ids, key=ids.count)} occurs more than once")
    for verdict in verdicts:
        row: dict[str, Any] = {name: getattr(verdict, name) for name in OWN} | {"step": step, "phase": phase}
        # JSON knows no infinity: null stands for the log-prob of what is impossible.
        row["log_probs"] = {
            label: None if log_prob == -math.inf else log_prob for label, log_prob in verdict.log_probs.items()
        }
        row |= {name: json.dumps(row[name], allow_nan=False) for name in JSON}
        if database.execute(UPSERT, row).rowcount == 0:
            raise ValueError(f"step {step} ({phase}): verdict id {verdict.verdict_id} belongs to another step or phase")


def read(
    database: sqlite3.Connection, where: Mapping[str, int | str | None], sample_id: str | None, texts: bool
) -> Iterator[Verdict]:
    """In the order in which they were first recorded. `where`: columns and their values, None being any; `sample_id` is
    one of those that a verdict is about. Without `texts`, prompt and reply are empty: they are nearly all of a
    verdict's size. A ledger that was written before there were verdicts has none."""
    if database.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'verdicts'").fetchone() is None:
        return
    clauses = [f"{name} = :{name}" for name, value in where.items() if value is not None]
    if sample_id is not None:
        clauses.append("EXISTS (SELECT 1 FROM json_each(sample_ids) AS one WHERE one.value = :sample_id)")
    columns = [name if texts or name not in ("prompt", "reply") else "''" for name in OWN]
    query = f"SELECT {', '.join(columns)} FROM verdicts WHERE {' AND '.join(clauses) or 'true'} ORDER BY rowid"
    for row in database.execute(query, {**where, "sample_id": sample_id}):
        yield _verdict(row)


def truncate_after(database: sqlite3.Connection, step: int) -> None:
    database.execute("DELETE FROM verdicts WHERE step > ?", (step,))


def _verdict(row: tuple[Any, ...]) -> Verdict:
    values = dict(zip(OWN, row, strict=True))
    values |= {name: json.loads(values[name]) for name in JSON}
    values["log_probs"] = {
        label: -math.inf if log_prob is None else log_prob for label, log_prob in values["log_probs"].items()
    }
    values |= {
        "sample_ids": tuple(values["sample_ids"]),
        "lengths": tuple(values["lengths"]),
        "cached": bool(values["cached"]),
    }
    return Verdict(**values)
