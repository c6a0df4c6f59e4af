"""Rows of safety data sets as what a model is asked: a prompt, and what it should do about it."""

from __future__ import annotations

from dataclasses import dataclass

from rlsys.config.dataset import DatasetConfig
from rlsys.curation.safety import Labels, labels_of
from rlsys.curation.settings import SafetyConfig
from rlsys.data.columns import parse
from rlsys.data.messages import Message
from rlsys.data.raw import BadRow
from rlsys.data.sources import read_rows
from rlsys.errors import DataError


@dataclass(frozen=True, slots=True)
class SafetyRow:
    """`prompt`, `category`, `severity` and `desired` of a row, and its `pair` if it has one."""

    row_id: str
    """`<split>:<number>`."""
    turns: str | tuple[Message, ...]
    labels: Labels

    @property
    def harmful(self) -> bool:
        """What is not to be complied with: `refuse`, and `safe-complete`."""
        return self.labels.desired != "comply"

    @property
    def text(self) -> str:
        """The prompt, or the last message of one."""
        return self.turns if isinstance(self.turns, str) else self.turns[-1]["content"]


def read(config: DatasetConfig) -> list[SafetyRow]:
    """Every row. Raises DataError, with the first row that can't be used: a measure of fewer rows than there are would
    be of another data set."""
    columns, found = SafetyConfig(), []
    for raw in read_rows(config):
        if config.limit is not None and len(found) == config.limit:
            break
        try:
            asked = parse(raw, config).prompt()
            labels = labels_of(raw.value, columns)
        except BadRow as error:
            raise DataError(f"{config.path}:{raw.number}: {error}") from error
        found.append(SafetyRow(f"{config.split}:{raw.number}", asked if isinstance(asked, str) else (*asked,), labels))
    if not found:
        raise DataError(f"{config.path}: no row; wanted prompt, category, severity and desired in each")
    return found
