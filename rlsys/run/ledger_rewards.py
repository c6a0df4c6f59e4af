"""The ledger's third table: which code gave the rewards, from which step on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import astuple, fields

from rlsys.rewards.named import RewardSource

SCHEMA = """
CREATE TABLE IF NOT EXISTS rewards (
    label TEXT NOT NULL,       -- the key in reward_parts
    name TEXT NOT NULL,        -- as in the config
    file TEXT,                 -- NULL: it has none, as a function in C
    sha256 TEXT,               -- of the file's content
    from_step INTEGER NOT NULL,
    PRIMARY KEY (label, from_step)
) STRICT;
"""
COLUMNS = tuple(spec.name for spec in fields(RewardSource))


def record(database: sqlite3.Connection, step: int, sources: Sequence[RewardSource]) -> list[str]:
    """Write down what differs from before; returns the labels of rewards that were there with another content, within
    the caller's transaction."""
    last = {source.label: source for _, source in read(database)}
    changed = [source for source in sources if source != last.get(source.label)]
    database.executemany(
        f"INSERT INTO rewards ({', '.join(COLUMNS)}, from_step) VALUES (?, ?, ?, ?, ?)",
        [(*astuple(source), step) for source in changed],
    )
    return [source.label for source in changed if source.label in last and source.sha256 != last[source.label].sha256]


def read(database: sqlite3.Connection) -> Iterator[tuple[int, RewardSource]]:
    """Each with the first step that it scored, in order; none in a ledger from before there was this table."""
    if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'rewards'").fetchone() is None:
        return
    query = f"SELECT from_step, {', '.join(COLUMNS)} FROM rewards ORDER BY from_step, rowid"
    for step, *source in database.execute(query):
        yield step, RewardSource(*source)


def truncate_after(database: sqlite3.Connection, step: int) -> None:
    database.execute("DELETE FROM rewards WHERE from_step > ?", (step,))
