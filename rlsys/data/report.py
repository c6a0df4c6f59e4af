"""What became of the rows of a data set."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Generic, Self, TypeVar

from rlsys.config.dataset import DatasetConfig

RowT = TypeVar("RowT")


@dataclass
class Report:
    """What became of the rows of one data set: read = kept + too_long + quarantined."""

    source: str
    split: str
    """And the part of it, where only a part is read."""
    read: int = 0
    kept: int = 0
    too_long: int = 0
    """Left out for their length in tokens."""
    quarantined: int = 0
    """Left out as unreadable; each is in the run's `quarantine.jsonl`."""
    unanswered: int = 0
    """Kept prompts without a ground truth."""
    formats: Counter[str] = field(default_factory=Counter)
    """What the usable rows were read as, by the number of rows."""
    untold: str = ""
    """How many kept rows lack a ground truth that a reward reads, for people."""
    reason: str = ""
    """Why the first row that was left out was."""

    @classmethod
    def of(cls, config: DatasetConfig) -> Self:
        return cls(config.path, config.label)

    @property
    def format(self) -> str:
        """What the rows were read as, for people: `sharegpt`, or `messages (19), sharegpt (1)`."""
        if len(self.formats) < 2:
            return next(iter(self.formats), "")
        return ", ".join(f"{name} ({count})" for name, count in self.formats.most_common())

    @property
    def left_out(self) -> str | None:
        """What was left out and why, and what has no ground truth, for people; None: nothing."""
        said = [self.untold] if self.untold else []
        if left := self.too_long + self.quarantined:
            why = f"{self.too_long:,} too long, {self.quarantined:,} unusable; the first: {self.reason}"
            said.insert(0, f"{left:,} of {self.read:,} rows left out ({why})")
        return f"{self.source}: {'; '.join(said)}" if said else None

    def counts(self) -> dict[str, int | str]:
        names = ("source", "split", "format", "read", "kept", "too_long", "quarantined", "unanswered")
        return {name: getattr(self, name) for name in names}


@dataclass
class TextReport(Report):
    """Rows are documents here."""

    blocks: int = 0
    """What they were cut into."""
    rough_cuts: int = 0
    """Places where a long document was cut to be tokenised, and perhaps within a token."""

    @property
    def left_out(self) -> str | None:
        """And where long documents may have other tokens than if they were tokenised whole."""
        if self.rough_cuts:
            self.untold = f"long documents were cut at {self.rough_cuts:,} places, perhaps within a token"
        return super().left_out

    def counts(self) -> dict[str, int | str]:
        return super().counts() | {"blocks": self.blocks, "rough_cuts": self.rough_cuts}


@dataclass(frozen=True)
class Loaded(Generic[RowT]):
    """Usable rows in the order of the data set."""

    rows: list[RowT]
    report: Report
