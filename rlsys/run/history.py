"""What a run wrote down in earlier steps, for methods that look back. A resumed run finds the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rlsys.run.ledger import Ledger
from rlsys.run.made_dataset import MadeDataset
from rlsys.samples import Sample


@dataclass(frozen=True, slots=True)
class RunHistory:
    """See `rlsys.methods.base.History`."""

    ledger: Ledger
    dataset: MadeDataset

    def samples(self, step: int) -> list[Sample]:
        return self.ledger.samples(step, "train")

    def rows(self) -> Sequence[dict[str, Any]]:
        return self.dataset.rows()
