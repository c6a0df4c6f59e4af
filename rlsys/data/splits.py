"""Which rows of a data set are meant: a slice of them, or a share by hash."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce

from rlsys.config.dataset import DatasetConfig, Part
from rlsys.data.nested import find, without
from rlsys.data.raw import BadRow, RawRow
from rlsys.errors import ConfigError
from rlsys.samples import stable_seed

SPLIT = re.compile(r"(?P<name>[^\[\]+]+)(\[(?P<start>-?\d+%?)?:(?P<stop>-?\d+%?)?\])?")


@dataclass(frozen=True, slots=True)
class Split:
    """`train`, `train[100:200]`, `train[90%:]`: as `datasets` writes them."""

    name: str
    start: str | None
    stop: str | None

    @classmethod
    def parse(cls, text: str) -> Split:
        """Raises ConfigError."""
        found = SPLIT.fullmatch(text)
        if found is None:
            raise ConfigError(
                f"split {text!r} can't be read; it is a name or a slice of one, as in train, train[:10%], "
                "train[100:200]"
            )
        return cls(found["name"], found["start"], found["stop"])

    @property
    def sliced(self) -> bool:
        return self.start is not None or self.stop is not None

    def of(self, rows: Iterable[RawRow]) -> Iterable[RawRow]:
        """The slice. Percentages are rounded to the nearest row, and negative bounds count from the end."""
        if not self.sliced:
            return rows
        every = list(rows)
        return every[_bound(self.start, len(every)) : _bound(self.stop, len(every))]


def _bound(text: str | None, count: int) -> int | None:
    if text is None:
        return None
    return round(int(text[:-1]) * count / 100) if text.endswith("%") else int(text)


def matching(rows: Iterable[RawRow], where: Mapping[str, object]) -> Iterator[RawRow]:
    """The rows whose columns have these values. One that can't be read, or lacks a column, is not left out in silence:
    it stays, with its problem."""
    for raw in rows:
        if raw.problem is None and isinstance(raw.value, dict):
            try:
                if any(find(raw.value, column, "where") != value for column, value in where.items()):
                    continue
            except BadRow as error:
                raw = replace(raw, problem=str(error))
        yield raw


def side(rows: Iterable[RawRow], config: DatasetConfig) -> Iterator[RawRow]:
    """The rows of `config.part`. Which side a row is on is told by its own content alone, so further rows move none,
    and equal rows stay together; columns that are ignored don't count. A row that can't be read is on a side, too."""
    part = config.part
    assert part is not None
    for raw in rows:
        try:
            inside = _place(raw, part, config.ignore) < part.share
        except BadRow as error:
            raw, inside = replace(raw, problem=str(error)), False
        if inside != part.rest:
            yield raw


def _place(raw: RawRow, part: Part, ignored: Iterable[str]) -> float:
    """From 0 to 1."""
    value = raw.value
    if isinstance(value, dict) and raw.problem is None:
        own = reduce(without, ignored, value)
        value = own if part.by is None else find(own, part.by)
    return stable_seed("held out", json.dumps(value, sort_keys=True, default=str)) / 2**63
