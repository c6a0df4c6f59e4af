"""The rows of data sets as they are, read as often as needed and never all at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from rlsys.config.contamination import ContaminationConfig
from rlsys.config.dataset import DatasetConfig
from rlsys.curation.view import view_of
from rlsys.data.files import is_plain, read_lines_of
from rlsys.data.load import load_rows
from rlsys.data.raw import RawRow
from rlsys.data.report import Loaded, Report
from rlsys.data.sources import read_rows
from rlsys.data.stream import Stream

CHUNK = 1 << 20
"""Bytes that are read at once to count lines."""


class Corpus(Stream[RawRow]):
    """One or several data sets, one after the other. As a stream it is empty: whoever curates reads it whole."""

    def __init__(
        self,
        sets: tuple[DatasetConfig, ...],
        contamination: ContaminationConfig | None = None,
        held_out: DatasetConfig | None = None,
        folder: Path | None = None,
    ) -> None:
        super().__init__([], seed=0, shuffle=False)
        self.sets = sets
        self.contamination = contamination or ContaminationConfig()
        self.against = (*([held_out] if held_out else []), *self.contamination.against)
        """Evaluation sets that none of the rows may be from."""
        self.folder = folder
        """Where what is said of the rows is written."""

    def batches(self, size: int) -> Iterator[tuple[int, Iterable[RawRow]]]:
        """All rows in order, up to `size` of one data set at once, and which one; those of plain files are parsed by
        whoever iterates over them. Raises DataError for a data set that can't be read."""
        for source, config in enumerate(self.sets):
            if _is_plain(config):
                yield from ((source, lines) for lines in read_lines_of(Path(config.path).expanduser(), size))
                continue
            rows = iter(islice(read_rows(config), config.limit))
            while batch := list(islice(rows, size)):
                yield source, batch

    def count(self) -> int | None:
        """How many rows there are, where that is quickly told: of plain files of JSON lines."""
        counts = [_count(config) for config in self.sets]
        return None if None in counts else sum(count or 0 for count in counts)


def load_raw(
    config: DatasetConfig, tokenizer: object, most_tokens: int, strict: bool, quarantine: Path | None
) -> Loaded[RawRow]:
    """The rows that curation can read, as they are; no length is judged. Otherwise as `load_prompts`."""
    report = Report.of(config)

    def make(raw: RawRow, row_id: str) -> RawRow:
        report.formats[view_of(raw, config).kind] += 1
        return raw

    return load_rows(config, make, lambda _: 0, None, strict, quarantine, report)


def _is_plain(config: DatasetConfig) -> bool:
    whole = config.part is None and not config.where and config.limit is None
    path = Path(config.path).expanduser()
    return whole and config.split in ("train", path.stem) and is_plain(path)


def _count(config: DatasetConfig) -> int | None:
    if not _is_plain(config.model_copy(update={"limit": None})):
        return None
    with Path(config.path).expanduser().open("rb") as file:
        count = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(CHUNK), b""))
    return count if config.limit is None else min(count, config.limit)
