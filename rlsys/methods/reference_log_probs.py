"""Writes comparisons with a reference's log-probs of each answer, for DPO and its relatives with `precomputed`. Trains
nothing.

Each row of the data set (`dataset.jsonl` in the run's folder) is a row that was read, with `reference_log_probs`, a
number for each answer, summed over its trained tokens (nats), `reference_tokens`, how many those are, and
`reference_model`, the reference's name and version. So a policy trains beside no reference, and many runs share the
work.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import PositiveInt

from rlsys.config.sampling import SamplingConfig
from rlsys.data.collate import collate
from rlsys.data.load import Comparison
from rlsys.data.stream import Source, Stream
from rlsys.errors import ConfigError
from rlsys.methods.base import Experience, Facts, Learned, MethodConfig, Step
from rlsys.methods.shared.preferences import summed_log_probs
from rlsys.roles import Roles

TEMPERATURE = 1.0
DONE = "done"
"""In the memory: rows so far."""


class Config(MethodConfig):
    name: str = "reference_log_probs"
    """This file."""
    batch_size: PositiveInt = 256
    """Comparisons of one step. The run ends when each has been taken once, or after loop.steps."""
    max_tokens: PositiveInt = 2048
    """Comparisons of which an answer with its prompt is longer are left out, and counted."""

    @property
    def facts(self) -> Facts:
        # A last step takes what is left, so a small data set will do.
        return Facts("comparisons", frozenset({"reference"}), makes="data set", rows_per_step=1, rows_together=2)


@dataclass(frozen=True)
class Known(Experience):
    left: int = 0
    """Rows that later steps will take."""


@dataclass(frozen=True)
class Method:
    config: Config
    sampling: SamplingConfig
    pad_id: int

    def collect(self, roles: Roles, source: Source[Comparison], step: Step) -> Known:
        assert roles.reference is not None
        if not isinstance(source, Stream):
            raise ConfigError(
                "data.also: method reference_log_probs takes one data set, each row once; give every set a run of its "
                "own"
            )
        left = source.rows - int(step.memory.get(DONE, 0))
        taken = source.take(min(self.config.batch_size, left))
        batch = collate([answer for row in taken for answer in row.answers], self.pad_id)
        log_probs = iter(summed_log_probs(roles.reference, batch, TEMPERATURE).tolist())
        rows = tuple(
            {
                **row.columns,
                "reference_log_probs": [next(log_probs) for _ in row.answers],
                "reference_tokens": [sum(answer.loss_mask) for answer in row.answers],
                "reference_model": roles.reference.identity,
            }
            for row in taken
        )
        return Known(step.version, rows=rows, metrics={"dataset/rows": float(len(rows))}, left=left - len(rows))

    def learn(self, roles: Roles, experience: Experience, step: Step) -> Learned:
        assert isinstance(experience, Known)
        memory = {DONE: step.memory.get(DONE, 0) + len(experience.rows)}
        return Learned({}, memory=memory, done=None if experience.left else "every row has its log-probs")
