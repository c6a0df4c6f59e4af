"""What the loop itself must remember, as it lies in a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rlsys.errors import CheckpointError

STATE = "loop.json"
"""The loop's own state, within a checkpoint."""
COUNTS = "dataset/"
"""Metrics that begin so are summed over the run: they count what became of the rows of the data set that it makes."""


@dataclass
class State:
    """What the loop itself must remember to go on exactly. All randomness derives from the run's seed, the step and row
    ids: there is no generator state in the driver."""

    step: int = 0
    version: int = 0
    samples: int = 0
    tokens: int = 0
    seconds: float = 0.0
    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    """The method's own (`Learned.memory`)."""
    counts: dict[str, float] = field(default_factory=dict)
    """Sums of the metrics that begin with `COUNTS`."""
    best_score: float | None = None
    best_step: int | None = None
    """Where the run's model was taken from, if not from the last step."""
    waited: int = 0
    """Evaluations in a row that were no better than the best one."""
    done: str | None = None
    """Why the method ended the run before its last step (`Learned.done`)."""
    first: dict[str, float] = field(default_factory=dict)
    """What was measured while training, in the first step and in the last."""
    last: dict[str, float] = field(default_factory=dict)
    watch: dict[str, dict[str, Any]] = field(default_factory=dict)
    """`Watch.state`."""
    alarms: dict[str, Any] = field(default_factory=dict)
    """`Alarms.state`."""
    canary_alarm: bool = False
    """The judge fell below `judge.canary_alarm`; it is said once."""
    restarts: int = 0
    """How often new actors took the place of dead ones."""
    skipped: int = 0
    """Steps with an update that was skipped because its gradient was not finite: in all, and in a row."""
    skipped_in_a_row: int = 0
    notes: list[str] = field(default_factory=list)
    """What happened to the run: faults that it survived, settings that were changed."""


def write_state(folder: Path, state: State, source: Mapping[str, Any], origin: Mapping[str, Any]) -> None:
    """Into a checkpoint: `source` is where the data stand, `origin` the config and the content of the data."""
    (folder / STATE).write_text(json.dumps({"state": asdict(state), "source": source, **origin}), encoding="utf-8")


def read_state(folder: Path) -> dict[str, Any]:
    """What `write_state` wrote, with `state` as a `State`. Raises CheckpointError if it is anything
    else."""
    try:
        saved = json.loads((folder / STATE).read_text(encoding="utf-8"))
        return {**saved, "state": State(**saved["state"]), "source": saved["source"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder / STATE}: is not the state of a loop ({type(error).__name__}: {error})"
        ) from error
