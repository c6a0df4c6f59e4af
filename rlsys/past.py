"""What a run wrote down in earlier steps, for algorithms that look back. A resumed run finds the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rlsys.dataset import Dataset
from rlsys.ledger import Ledger, Sample


@dataclass(frozen=True, slots=True)
class Past:
    ledger: Ledger
    dataset: Dataset

    def samples(self, step: int) -> list[Sample]:
        """What was sampled to learn from in that step, in the order of its groups."""
        return self.ledger.samples(step, "train")

    def rows(self) -> Sequence[dict[str, Any]]:
        """The data set that the run has made so far: each row with the `step` that made it."""
        return self.dataset.rows()
