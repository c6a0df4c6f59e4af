"""Curates a data set: rows that nobody should train on are dropped, personal data is made unreadable, what stays gets a
split. Trains nothing and needs no model.

Each row of the new data set (`dataset.jsonl` in the run's folder) is a row that was read, with `curation`: its `source`
and `row`, its `split` where there are some, and how often what was `redacted`. Beside it, `dropped.jsonl` says of every
other row the one `reason`, and of which row it is a duplicate; `curation.json` the settings and the whole report.
Neither repeats what a row says. Later stages read `stage:NAME`, as with `where: {curation.split: train}`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rlsys.config.sampling import SamplingConfig
from rlsys.curation.corpus import Corpus
from rlsys.curation.pii import Scanner
from rlsys.curation.report import check_crossings, counts, write
from rlsys.curation.settings import CurationConfig
from rlsys.curation.survey import Survey, survey
from rlsys.curation.watching import watching
from rlsys.data.stream import Source
from rlsys.errors import DataError
from rlsys.methods.base import Experience, Facts, Learned, MethodConfig, Step
from rlsys.roles import Roles


class Config(MethodConfig, CurationConfig):
    name: str = "curate"
    """This file."""

    @property
    def facts(self) -> Facts:
        return Facts("raw", frozenset(), makes="data set", rows_per_step=1)


@dataclass(frozen=True)
class Curated(Experience):
    found: Survey | None = None

    def made(self) -> Iterator[dict[str, Any]]:
        assert self.found is not None
        return curated(self.found)


@dataclass(frozen=True)
class Method:
    """All of it is one step."""

    config: Config
    sampling: SamplingConfig
    pad_id: int

    def collect(self, roles: Roles, source: Source[Any], step: Step) -> Experience:
        assert isinstance(source, Corpus)
        with watching("curating", source.count()) as done:
            found = survey(source, self.config, done)
        check_crossings(found)
        if source.folder is not None:
            write(found, source.folder)
        if not found.alive.any():
            told = ", ".join(f"{count:,} {reason}" for reason, count in found.reasons().most_common())
            raise DataError(f"curate: not one of {found.rows:,} rows stays ({told}); ask for less in method.*")
        metrics = {f"dataset/{name.replace(' ', '_')}": float(count) for name, count in counts(found).items()}
        return Curated(version=step.version, metrics=metrics, found=found)

    def learn(self, roles: Roles, experience: Experience, step: Step) -> Learned:
        return Learned({}, done="every row is curated")


def curated(found: Survey) -> Iterator[dict[str, Any]]:
    """The rows that stay, as they are written."""
    pii, splits = found.config.pii, found.config.splits
    scanner = Scanner(pii.kinds) if pii is not None and pii.action == "redact" else None
    for row, value in found.kept():
        redacted = Counter[str]()
        if scanner is not None:
            value = scanner.redacted(value, redacted)
        path, _, number = found.name(row).rpartition(":")
        about: dict[str, Any] = {"source": path, "row": int(number)}
        if splits is not None:
            about["split"] = splits.names[found.parts[row]]
        if redacted:
            about["redacted"] = dict(redacted)
        if "curation" in value:
            about["before"] = value["curation"]
        yield {**value, "curation": about}
