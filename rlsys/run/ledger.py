"""Every sample of a run, in one SQLite file: what was asked, what came back, how it was judged, and which step learned
from it; every verdict of a judge (`ledger_verdicts`); and which code gave the rewards (`ledger_rewards`).

Text columns and numbers can be read with any SQLite tool. The per-token columns (`token_ids`, `loss_mask`, `log_probs`,
`policy_versions`) are zlib-compressed little-endian arrays of the types in `ARRAYS`, prompt tokens included;
`Ledger.samples` unpacks them.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np

from rlsys.errors import RunError
from rlsys.rewards.named import RewardSource
from rlsys.run import ledger_rewards, ledger_verdicts
from rlsys.samples import Abstention, Sample, Score, ScoredGroup, Verdict

ARRAYS = {"token_ids": "<i4", "loss_mask": "<i1", "log_probs": "<f4", "policy_versions": "<i4"}

SCHEMA = """
CREATE TABLE IF NOT EXISTS samples (
    sample_id TEXT PRIMARY KEY,
    step INTEGER NOT NULL,
    phase TEXT NOT NULL,
    prompt_id TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    sample_index INTEGER NOT NULL,
    prompt TEXT NOT NULL,
    answer TEXT,
    response TEXT NOT NULL,
    finish_reason TEXT NOT NULL,
    reward REAL,               -- NULL: it could not be computed; `abstention` says why
    abstention TEXT,
    reward_parts TEXT,         -- JSON: each component's unweighted value
    advantage REAL,            -- NULL: the sample trained nothing
    used_in_step INTEGER,
    token_ids BLOB NOT NULL,
    loss_mask BLOB NOT NULL,
    log_probs BLOB NOT NULL,   -- the sampler's
    policy_versions BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS samples_by_step ON samples (step, phase);
CREATE TABLE IF NOT EXISTS faults (
    step INTEGER NOT NULL,     -- the last complete one
    back_to INTEGER NOT NULL,  -- the checkpoint's step that the run went back to
    error TEXT NOT NULL
) STRICT;
"""


Order = Literal["rowid", "reward", "reward DESC"]
"""As recorded, the worst first, the best first."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a sample was worth, without its text and tokens."""

    sample_id: str
    step: int
    phase: str
    reward: float | None
    reward_parts: dict[str, float]


COLUMNS = tuple(Sample.__dataclass_fields__)
UPSERT = f"""
INSERT INTO samples ({", ".join(COLUMNS)}) VALUES ({", ".join(":" + name for name in COLUMNS)})
ON CONFLICT (sample_id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in COLUMNS[1:])}
WHERE step = excluded.step AND phase = excluded.phase
"""


class Ledger:
    """Opens or makes the ledger at `path`. With `read_only`, an existing one, also while a run writes it. Raises
    RunError if it can't."""

    def __init__(self, path: Path, read_only: bool = False) -> None:
        self.path = path
        try:
            self._database = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}", uri=True, timeout=60
            )
            if not read_only:
                # Write-ahead log: readers don't block the run, and a killed run loses at most the step it was writing.
                self._database.execute("PRAGMA journal_mode = WAL")
                self._database.execute("PRAGMA synchronous = NORMAL")
                self._database.executescript(SCHEMA + ledger_verdicts.SCHEMA + ledger_rewards.SCHEMA)
        except sqlite3.Error as error:
            raise RunError(f"{path}: can't open the ledger: {error}") from error

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def record(
        self, step: int, groups: Sequence[ScoredGroup], advantages: Mapping[str, float | None], phase: str
    ) -> None:
        """Write all samples and verdicts of `groups` in one transaction. Samples named in `advantages` (by sample id)
        are those that `step` trained on, with or without one.

        Recording a step again replaces its samples and verdicts. Raises ValueError, and writes nothing, when the id of
        a sample or verdict occurs twice or belongs to another step or phase: ids are unique over a run.
        """
        rows = [row for group in groups for row in _rows(step, group, advantages, phase)]
        ids = [row["sample_id"] for row in rows]
        if len(set(ids)) < len(ids):
            raise ValueError(f"step {step}: sample id {max(ids, key=ids.count)} occurs more than once")
        if unknown := advantages.keys() - set(ids):
            raise ValueError(f"step {step}: advantage of {min(unknown)}, which is none of the step's samples")
        with self._database:
            for row in rows:
                if self._database.execute(UPSERT, row).rowcount == 0:
                    raise ValueError(
                        f"step {step} ({phase}): sample id {row['sample_id']} belongs to another step or phase"
                    )
            ledger_verdicts.record(self._database, step, groups, phase)

    def samples(self, step: int, phase: str | None = None) -> list[Sample]:
        """Samples of one step (of one phase), in the order they were first recorded."""
        query = f"SELECT {', '.join(COLUMNS)} FROM samples WHERE step = ? AND phase = coalesce(?, phase) ORDER BY rowid"
        return [_sample(row) for row in self._database.execute(query, (step, phase))]

    def sample(self, sample_id: str) -> Sample | None:
        row = self._database.execute(
            f"SELECT {', '.join(COLUMNS)} FROM samples WHERE sample_id = ?", (sample_id,)
        ).fetchone()
        return None if row is None else _sample(row)

    def find(
        self, order: Order, most: int, step: int | None = None, phase: str | None = None, containing: str | None = None
    ) -> tuple[list[Sample], int]:
        """At most so many samples, of a step, of a phase, with a text in prompt or response (upper and lower case are
        one); and how many there are. By reward, those without one are left out; equal ones, and all others, come in the
        order they were first recorded."""
        self._database.create_function("casefold", 1, str.casefold, deterministic=True)
        chosen = (
            "FROM samples WHERE step = coalesce(:step, step) AND phase = coalesce(:phase, phase)"
            " AND (:text IS NULL OR instr(casefold(prompt), :text) OR instr(casefold(response), :text))"
        ) + ("" if order == "rowid" else " AND reward IS NOT NULL")
        values = {"step": step, "phase": phase, "text": containing and containing.casefold(), "most": most}
        query = f"SELECT {', '.join(COLUMNS)} {chosen} ORDER BY {order}, rowid LIMIT :most"
        found = [_sample(row) for row in self._database.execute(query, values)]
        return found, self._database.execute(f"SELECT count(*) {chosen}", values).fetchone()[0]

    def spread(self, most: int) -> tuple[list[Sample], int]:
        """At most so many samples, evenly spaced in the order they were first recorded; and how many there are."""
        count = self._database.execute("SELECT count(*) FROM samples").fetchone()[0]
        # An odd stride meets every place in groups of 2, 4, 8, ... samples.
        query = f"SELECT {', '.join(COLUMNS)} FROM samples WHERE rowid % ? = 1 % ? ORDER BY rowid LIMIT ?"
        stride = max(-(-count // most), 1)
        stride += stride % 2 == 0
        return [_sample(row) for row in self._database.execute(query, (stride, stride, most))], count

    def abstentions(self) -> list[tuple[str, str, int]]:
        """Reasons why samples have no reward, each with the phase and how many it kept from one, the commonest
        first."""
        query = "SELECT abstention, phase, count(*) FROM samples WHERE abstention IS NOT NULL GROUP BY 1, 2"
        return [*self._database.execute(f"{query} ORDER BY 3 DESC, min(rowid)")]

    def steps(self, phase: str) -> list[int]:
        """Those with samples of the phase, in order."""
        query = "SELECT DISTINCT step FROM samples WHERE phase = ? ORDER BY step"
        return [step for (step,) in self._database.execute(query, (phase,))]

    def outcomes(self) -> Iterator[Outcome]:
        """Of all samples, in the order they were first recorded: little enough for those of a whole run."""
        query = "SELECT sample_id, step, phase, reward, reward_parts FROM samples ORDER BY rowid"
        for sample_id, step, phase, reward, parts in self._database.execute(query):
            yield Outcome(sample_id, step, phase, reward, {} if parts is None else json.loads(parts))

    def scores(self, part: str) -> bool:
        """Whether any sample has this part of the reward."""
        query = "SELECT 1 FROM samples WHERE instr(reward_parts, ?) LIMIT 1"
        return self._database.execute(query, (f"{json.dumps(part)}:",)).fetchone() is not None

    def phases(self) -> list[tuple[str, str, int]]:
        """Each phase with the id of its first sample and how many it has, in the order in which they began."""
        # Beside one min(), SQLite takes the other columns from the row that has it.
        query = "SELECT phase, sample_id, count(*), min(rowid) FROM samples GROUP BY phase ORDER BY 4"
        return [(phase, sample_id, count) for phase, sample_id, count, _ in self._database.execute(query)]

    def sample_ids(self) -> list[str]:
        """Of all steps, in the order they were first recorded."""
        return [sample_id for (sample_id,) in self._database.execute("SELECT sample_id FROM samples ORDER BY rowid")]

    def verdicts(
        self,
        step: int | None = None,
        phase: str | None = None,
        *,
        sample_id: str | None = None,
        verdict_id: str | None = None,
        kind: str | None = None,
        texts: bool = True,
    ) -> Iterator[Verdict]:
        """What the judge said: of a step, of a phase, about a sample, by its id, of a kind, or all of it, in the order
        of recording. Without `texts`, prompts and replies are left empty, so that those of a whole run fit into
        memory."""
        where = {"step": step, "phase": phase, "kind": kind, "verdict_id": verdict_id}
        return ledger_verdicts.read(self._database, where, sample_id, texts)

    def record_fault(self, step: int, back_to: int, error: str) -> None:
        """That the run went from `step` back to the checkpoint of another, and why."""
        with self._database:
            self._database.execute("INSERT INTO faults VALUES (?, ?, ?)", (step, back_to, error))

    def faults(self) -> list[tuple[int, int, str]]:
        """What `record_fault` was told, in order; nothing in a ledger from before there was this table."""
        if self._database.execute("SELECT 1 FROM sqlite_master WHERE name = 'faults'").fetchone() is None:
            return []
        return list(self._database.execute("SELECT step, back_to, error FROM faults ORDER BY rowid"))

    def record_rewards(self, step: int, sources: Sequence[RewardSource]) -> list[str]:
        """Write down which code gives the rewards from `step` on; returns the labels of those that changed since."""
        with self._database:
            return ledger_rewards.record(self._database, step, sources)

    def rewards(self) -> list[tuple[int, RewardSource]]:
        """Each with the first step that it scored, in order."""
        return [*ledger_rewards.read(self._database)]

    def truncate_after(self, step: int) -> None:
        """Forget later steps: a run that goes on from `step` records them anew."""
        with self._database:
            self._database.execute("DELETE FROM samples WHERE step > ?", (step,))
            ledger_verdicts.truncate_after(self._database, step)
            ledger_rewards.truncate_after(self._database, step)

    def close(self) -> None:
        self._database.close()


def _rows(step: int, group: ScoredGroup, advantages: Mapping[str, float | None], phase: str) -> list[dict[str, Any]]:
    rows = []
    for trajectory, result in zip(group.trajectories, group.results, strict=True):
        row = {
            "sample_id": trajectory.sample_id,
            "step": step,
            "phase": phase,
            "prompt_id": group.prompt.prompt_id,
            "epoch": group.prompt.epoch,
            "sample_index": trajectory.sample_index,
            "prompt": group.prompt.text,
            "answer": group.prompt.answer,
            "response": trajectory.text,
            "finish_reason": trajectory.finish_reason,
            "reward": result.value if isinstance(result, Score) else None,
            "abstention": result.reason if isinstance(result, Abstention) else None,
            "reward_parts": json.dumps(result.parts) if isinstance(result, Score) else None,
            "advantage": advantages.get(trajectory.sample_id),
            "used_in_step": step if trajectory.sample_id in advantages else None,
        }
        rows.append(row | {name: _pack(getattr(trajectory, name), kind) for name, kind in ARRAYS.items()})
    return rows


def _sample(row: tuple[Any, ...]) -> Sample:
    values = dict(zip(COLUMNS, row, strict=True))
    parts = values.pop("reward_parts")
    arrays = {name: np.frombuffer(zlib.decompress(values.pop(name)), kind).tolist() for name, kind in ARRAYS.items()}
    return Sample(**values, **arrays, reward_parts={} if parts is None else json.loads(parts))


def _pack(values: Sequence[float], kind: str) -> bytes:
    return zlib.compress(np.asarray(values, kind).tobytes(), 1)
