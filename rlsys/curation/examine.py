"""What is found out about one row after the other, in any process; what depends on other rows comes later."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsys.config.dataset import DatasetConfig
from rlsys.curation.contamination import Hit, Index, Worded
from rlsys.curation.exact import fingerprint, normal
from rlsys.curation.near import Signatures, signature
from rlsys.curation.pii import Scanner
from rlsys.curation.preference_report import Judged, judged
from rlsys.curation.quality import Quality
from rlsys.curation.safety import Labels, labels_of
from rlsys.curation.settings import CurationConfig
from rlsys.curation.splits import group_of, split_of
from rlsys.curation.view import view_of
from rlsys.data.raw import BadRow, RawRow

MASK = (1 << 63) - 1


@dataclass(slots=True)
class Examined:
    """One row, without its content."""

    kind: str = ""
    reason: str | None = None
    """Why it is dropped, whatever else there is."""
    detail: str = ""
    content: int = 0
    """Fingerprint of what exact duplicates are told by."""
    prompt: int = 0
    group: int = 0
    """Hashes by which rows belong together."""
    part: int = 0
    """The place of its split."""
    chars: tuple[int, int] = (0, 0)
    """Of the prompt, and of all answers."""
    refused: bool = False
    pii: Counter[str] = field(default_factory=Counter)
    hits: Sequence[Hit] = ()
    comparison: Judged | None = None
    labels: Labels | None = None
    text: str | None = None


@dataclass(slots=True)
class Batch:
    """Rows of one data set in a row: lists and arrays have an entry for each, dicts for those by whose place they have
    something."""

    source: int
    signatures: Signatures | None = None
    numbers: array[int] = field(default_factory=lambda: array("Q"))
    content: list[int] = field(default_factory=list)
    prompts: array[int] = field(default_factory=lambda: array("q"))
    groups: array[int] = field(default_factory=lambda: array("q"))
    parts: array[int] = field(default_factory=lambda: array("b"))
    prompt_chars: array[int] = field(default_factory=lambda: array("Q"))
    answer_chars: array[int] = field(default_factory=lambda: array("Q"))
    kinds: Counter[str] = field(default_factory=Counter)
    pii: Counter[str] = field(default_factory=Counter)
    pii_rows: int = 0
    refused: int = 0
    reasons: dict[int, tuple[str, str]] = field(default_factory=dict)
    hits: dict[int, Sequence[Hit]] = field(default_factory=dict)
    comparisons: dict[int, Judged] = field(default_factory=dict)
    labels: dict[int, Labels] = field(default_factory=dict)
    texts: dict[int, str] = field(default_factory=dict)
    """Where an embedding is asked for, of rows that may stay."""

    def add(self, number: int, row: Examined) -> None:
        place = len(self.numbers)
        self.numbers.append(number)
        self.content.append(row.content)
        self.prompts.append(row.prompt)
        self.groups.append(row.group)
        self.parts.append(row.part)
        if row.kind:
            self.kinds[row.kind] += 1
            self.prompt_chars.append(row.chars[0])
            self.answer_chars.append(row.chars[1])
        if row.pii:
            self.pii.update(row.pii)
            self.pii_rows += 1
        self.refused += row.refused
        if row.reason is not None:
            self.reasons[place] = row.reason, row.detail
        elif row.text is not None:
            self.texts[place] = row.text
        if row.hits:
            self.hits[place] = row.hits
        if row.comparison is not None:
            self.comparisons[place] = row.comparison
        if row.labels is not None:
            self.labels[place] = row.labels


def signed(config: CurationConfig) -> bool:
    """Whether each row needs a MinHash."""
    return config.deduplication.near is not None or config.splits is not None


class Examiner:
    """Raises ConfigError for settings that can't be used here."""

    def __init__(self, config: CurationConfig, sets: Sequence[DatasetConfig], index: Index | None) -> None:
        self.config, self.sets, self.index = config, sets, index
        self._quality = Quality(config.quality)
        self._scanner = None if config.pii is None else Scanner(config.pii.kinds)

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process builds its own."""
        return Examiner, (self.config, self.sets, self.index)

    def __call__(self, batch: tuple[int, Iterable[RawRow]]) -> Batch:
        source, raws = batch
        wanted, signs = self.config.deduplication, signed(self.config)
        made, signatures = Batch(source), list[NDArray[np.uint32]]()
        nothing = np.zeros(wanted.permutations, dtype=np.uint32)
        for raw in raws:
            row, worded = self._examined(raw, self.sets[source], signs)
            made.add(raw.number, row)
            if signs:
                kept = worded is not None and row.reason is None
                own = (worded.prompt if wanted.of == "prompt" else worded.text) if worded and kept else None
                signatures.append(nothing if own is None else signature(own, wanted.shingle, wanted.permutations))
        if signatures:
            made.signatures = np.stack(signatures)
        return made

    def _examined(self, raw: RawRow, config: DatasetConfig, signs: bool) -> tuple[Examined, Worded | None]:
        row = Examined()
        try:
            view = view_of(raw, config)
        except BadRow as error:
            row.reason, row.detail = "unusable", str(error)
            return row, None
        prompt_only, row.kind = self.config.deduplication.of == "prompt", view.kind
        prompt = normal(view.prompt)
        row.content = fingerprint(prompt) if prompt_only else fingerprint(prompt, *map(normal, view.answers))
        row.prompt = (fingerprint(prompt) if prompt else row.content) & MASK
        row.chars = len(view.prompt), sum(map(len, view.answers))
        self._drop(row, self._quality.problem(view, raw.value))
        self._look_for_pii(row, raw.value)
        try:
            if self.config.splits is not None:
                row.group = group_of(raw.value, row.prompt, self.config.splits)
                row.part = split_of(raw.value, row.prompt, self.config.splits)
            if self.config.safety is not None:
                row.labels = labels_of(raw.value, self.config.safety)
        except BadRow as error:
            self._drop(row, ("unlabelled", str(error)))
        worded = Worded.of(view) if signs or self.index is not None else None
        if self.index is not None and worded is not None:
            row.hits = self.index.hits(view, worded)
            for hit in row.hits[:1]:
                self._drop(row, ("contaminated", "{}:{}".format(*self.index.names[hit.evaluated])))
        row.comparison = judged(view, raw.value, self.config.preferences)
        row.refused = self._quality.sounds_refused(view)
        row.text = view.text if self.config.deduplication.embedding else None
        return row, worded

    def _look_for_pii(self, row: Examined, value: Any) -> None:
        if self._scanner is None or self.config.pii is None:
            return
        self._scanner.redacted(value, row.pii)
        if row.pii and self.config.pii.action == "drop":
            self._drop(row, ("pii", ", ".join(sorted(row.pii))))

    @staticmethod
    def _drop(row: Examined, why: tuple[str, str] | None) -> None:
        """The first reason is the row's only one."""
        if why is not None and row.reason is None:
            row.reason, row.detail = why
