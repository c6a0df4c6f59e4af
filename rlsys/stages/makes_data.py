"""What stages that make a data set of sampled answers share. It is no stage itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from rlsys.algorithm import Experience, Learned, RowKind, Step
from rlsys.config.models import SamplingConfig
from rlsys.roles import Roles


class TakesPrompts(Protocol):
    @property
    def prompts_per_step(self) -> int: ...


ConfigT = TypeVar("ConfigT", bound=TakesPrompts)


@dataclass(frozen=True)
class MakesData(Generic[ConfigT]):
    """An `Algorithm` that takes prompts and trains nothing. Its rows are what `collect` returns as `Experience.rows`."""

    config: ConfigT
    sampling: SamplingConfig
    pad_id: int

    updates_per_step = 1

    @property
    def rows(self) -> RowKind:
        return "prompts"

    @property
    def rows_per_step(self) -> int:
        return self.config.prompts_per_step

    def learn(self, roles: Roles, experience: Experience, step: Step) -> Learned:
        return Learned({})


def counted(counts: dict[str, int], names: tuple[str, ...]) -> dict[str, float]:
    """Metrics that the loop sums over the run: what became of the prompts, or rounds, by name."""
    return {f"dataset/{name}": float(counts.get(name, 0)) for name in names}
