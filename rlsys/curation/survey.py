"""All rows of a corpus: which are dropped, each for one reason, and what is found on the way. What stays in memory is a
few hundred bytes for a row, and nothing of its content."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsys.curation.contamination import Contamination, Index
from rlsys.curation.corpus import Corpus
from rlsys.curation.embedding import Embeddings
from rlsys.curation.exact import short
from rlsys.curation.examine import Batch, Examiner, signed
from rlsys.curation.near import NearDuplicates
from rlsys.curation.parallel import ordered
from rlsys.curation.preference_report import Judged
from rlsys.curation.safety import Balance, Labels, surplus
from rlsys.curation.settings import CurationConfig
from rlsys.curation.splits import Crossing, crossings

BATCH = 500
"""Rows that a process takes at once."""
CROSSING = 0.8
"""Jaccard similarity from which rows must not lie in different splits, where `deduplication.near` names none."""


@dataclass(frozen=True, slots=True)
class Dropped:
    reason: str
    detail: str = ""
    of: int | None = None
    """The row that stays in its place."""


@dataclass
class Survey:
    """Rows are numbered from 0 through all data sets; `names` says which each is."""

    corpus: Corpus
    config: CurationConfig
    sources: array[int] = field(default_factory=lambda: array("H"))
    numbers: array[int] = field(default_factory=lambda: array("Q"))
    prompts: array[int] = field(default_factory=lambda: array("q"))
    groups: array[int] = field(default_factory=lambda: array("q"))
    parts: array[int] = field(default_factory=lambda: array("b"))
    prompt_chars: array[int] = field(default_factory=lambda: array("Q"))
    answer_chars: array[int] = field(default_factory=lambda: array("Q"))
    dropped: dict[int, Dropped] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    pii: Counter[str] = field(default_factory=Counter)
    pii_rows: int = 0
    refused: int = 0
    comparisons: list[tuple[int, Judged]] = field(default_factory=list)
    labels: dict[int, Labels] = field(default_factory=dict)
    balance: Balance = field(default_factory=Balance)
    """Of the rows that stay."""
    contamination: Contamination | None = None
    crossings: list[Crossing] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return len(self.numbers)

    @property
    def alive(self) -> NDArray[np.bool_]:
        found = np.ones(self.rows, dtype=bool)
        found[list(self.dropped)] = False
        return found

    def name(self, row: int) -> str:
        return f"{self.corpus.sets[self.sources[row]].path}:{self.numbers[row]}"

    def reasons(self) -> Counter[str]:
        return Counter(one.reason for one in self.dropped.values())

    def kept(self) -> Iterator[tuple[int, Any]]:
        """The number and value of each row that stays, read anew."""
        row = 0
        for _, batch in self.corpus.batches(BATCH):
            for raw in batch:
                if row not in self.dropped:
                    yield row, raw.value
                row += 1

    def add(self, batch: Batch) -> int:
        """The number of its first row."""
        start, source = self.rows, self.corpus.sets[batch.source].path
        self.sources.extend([batch.source] * len(batch.numbers))
        for name in ("numbers", "prompts", "groups", "parts", "prompt_chars", "answer_chars"):
            getattr(self, name).extend(getattr(batch, name))
        self.kinds.update(batch.kinds)
        self.pii.update(batch.pii)
        self.pii_rows += batch.pii_rows
        self.refused += batch.refused
        self.comparisons += [(start + place, one) for place, one in batch.comparisons.items()]
        self.labels |= {start + place: one for place, one in batch.labels.items()}
        self.dropped |= {start + place: Dropped(*why) for place, why in batch.reasons.items()}
        if self.contamination is not None:
            for place, hits in batch.hits.items():
                self.contamination.add(source, batch.numbers[place], hits)
        return start


def survey(corpus: Corpus, config: CurationConfig, done: Callable[[int], None] = lambda _: None) -> Survey:
    """Reads everything once; `done` is told how many rows more have been. Raises DataError for a data set that can't be
    read, ConfigError for settings that don't fit."""
    # A method's settings would bring all of its imports into every process.
    config = CurationConfig(**{name: vars(config)[name] for name in CurationConfig.model_fields})
    index = Index.of(corpus.against, corpus.contamination) if corpus.against else None
    found, same, wanted = Survey(corpus, config), dict[int, int](), config.deduplication
    found.contamination = index and Contamination(index)
    near = NearDuplicates(wanted.near or CROSSING, wanted.permutations) if signed(config) else None
    embeddings = None if wanted.embedding is None else Embeddings(wanted.embedding, wanted.cosine)
    for batch in ordered(Examiner(config, corpus.sets, index), corpus.batches(BATCH), config.processes):
        start = found.add(batch)
        for row, content in enumerate(batch.content if wanted.exact else (), start=start):
            if row not in found.dropped and (other := same.setdefault(content, row)) != row:
                found.dropped[row] = Dropped("duplicate", of=other)
        if near is not None and batch.signatures is not None:
            near.add(batch.signatures)
        if embeddings is not None:
            own = [(start + place, text) for place, text in batch.texts.items()]
            embeddings.add([(row, text) for row, text in own if row not in found.dropped])
        done(len(batch.numbers))
    same.clear()
    if near is not None and wanted.near is not None:
        for alike in near.search(found.alive):
            found.dropped[alike.row] = Dropped("near duplicate", f"{alike.similarity:.2f}", alike.other)
    if embeddings is not None:
        for row, other, cosine in embeddings.search(found.alive):
            found.dropped[row] = Dropped("alike in meaning", f"{cosine:.3f}", other)
    _mix(found)
    if config.splits is not None:
        parts, prompts, groups = _of(found.parts, np.int8), _of(found.prompts, np.int64), _of(found.groups, np.int64)
        found.crossings = [*crossings(parts, prompts, groups, found.alive, near)]
    return found


def _mix(found: Survey) -> None:
    """Even out the categories of a safety data set, and count what stays."""
    if found.config.safety is None:
        return
    weights = found.config.safety.mix
    staying = {row: one for row, one in found.labels.items() if row not in found.dropped}
    if weights:
        chances = {row: found.prompts[row] if one.pair is None else short(one.pair) for row, one in staying.items()}
        for row in surplus([(row, one.category, chances[row]) for row, one in staying.items()], weights):
            found.dropped[row] = Dropped("mix", staying[row].category)
    for row, one in staying.items():
        if row not in found.dropped:
            found.balance.add(one)


def _of(numbers: array[int], dtype: Any) -> NDArray[Any]:
    return np.frombuffer(numbers, dtype=dtype) if len(numbers) else np.zeros(0, dtype=dtype)
