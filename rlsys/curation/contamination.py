"""Evaluation rows among training rows: the same prompt, n-grams (GPT-3, arXiv 2005.14165, appendix C), MinHash."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

import numpy as np

from rlsys.config.contamination import ContaminationConfig
from rlsys.config.dataset import DatasetConfig
from rlsys.curation.exact import fingerprint, normal
from rlsys.curation.near import Bands, Hashes, grams, signature, words
from rlsys.curation.view import View, view_of
from rlsys.data.raw import BadRow
from rlsys.data.sources import read_rows

By = Literal["prompt", "ngrams", "near"]
SHINGLE, PERMUTATIONS = 5, 128


@dataclass(frozen=True, slots=True)
class Hit:
    """A training row has an evaluation row in it."""

    evaluated: int
    """Place of the evaluation row in the index."""
    by: By
    similarity: float
    """1 for an equal prompt, the share of n-grams, or the Jaccard similarity of the prompts."""


@dataclass(frozen=True, slots=True)
class Worded:
    """A row as hashes of its words."""

    prompt: Hashes
    text: Hashes
    """Of the prompt and all answers."""

    @classmethod
    def of(cls, view: View) -> Worded:
        prompt = words(view.prompt)
        return cls(prompt, np.concatenate([prompt, *map(words, view.answers)]))


@dataclass
class Index:
    """Evaluation rows, to be looked for."""

    config: ContaminationConfig
    names: list[tuple[str, int]] = field(default_factory=list)
    """Data set and row of each evaluation row; of rows that say the same, of the first."""
    counts: list[int] = field(default_factory=list)
    """How many rows say the same as each."""
    seen: dict[int, int] = field(default_factory=dict)
    """Places by the fingerprint of the whole row."""
    unread: int = 0
    prompts: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Evaluation rows by the fingerprint of their prompts."""
    grams: Hashes = field(default_factory=lambda: np.zeros(0, dtype=np.uint64))
    """Sorted, each once."""
    owners: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Evaluation rows by the place of an n-gram."""
    sizes: list[int] = field(default_factory=list)
    """Different n-grams of each evaluation row."""
    signatures: list[Any] = field(default_factory=list)
    bands: dict[tuple[int, bytes], list[int]] = field(default_factory=lambda: defaultdict(list))

    @property
    def rows(self) -> int:
        """Evaluation rows that could be read."""
        return sum(self.counts)

    @classmethod
    def of(cls, sets: Iterable[DatasetConfig], config: ContaminationConfig) -> Index:
        """Raises DataError for a set that can't be read; a row that can't is counted."""
        found, own = cls(config), list[Hashes]()
        for dataset in sets:
            for raw in islice(read_rows(dataset), dataset.limit):
                try:
                    view = view_of(raw, dataset)
                except BadRow:
                    found.unread += 1
                    continue
                whole = fingerprint(*map(normal, (view.prompt, *view.answers)))
                if (place := found.seen.setdefault(whole, len(found.names))) < len(found.names):
                    found.counts[place] += 1
                else:
                    own.append(found._add((dataset.path, raw.number), view))
        if own:
            found.grams = np.unique(np.concatenate(own))
        for row, hashes in enumerate(own):
            for place in np.searchsorted(found.grams, hashes):
                found.owners[int(place)].append(row)
        found.owners, found.prompts, found.bands = dict(found.owners), dict(found.prompts), dict(found.bands)
        return found

    def _add(self, name: tuple[str, int], view: View) -> Hashes:
        """Its different n-grams."""
        row = len(self.names)
        self.names.append(name)
        self.counts.append(1)
        if view.prompt:
            self.prompts[fingerprint(normal(view.prompt))].append(row)
        if self.config.near is not None:
            self._sign(row, view.prompt)
        own = np.unique(grams(words(view.text), self.config.ngram))
        self.sizes.append(len(own))
        return own

    def _sign(self, row: int, prompt: str) -> None:
        assert self.config.near is not None
        signed = signature(words(prompt), SHINGLE, PERMUTATIONS)
        self.signatures.append(signed)
        for band, key in enumerate(Bands.at(self.config.near, PERMUTATIONS).cut(signed) if prompt else ()):
            self.bands[band, key].append(row)

    def hits(self, view: View, worded: Worded) -> list[Hit]:
        """The evaluation rows that a training row has, each once."""
        found = {row: Hit(row, "prompt", 1.0) for row in self.prompts.get(fingerprint(normal(view.prompt)), ())}
        for row, share in self._shared(worded.text):
            if share >= self.config.min_overlap:
                found.setdefault(row, Hit(row, "ngrams", share))
        if self.config.near is not None and view.prompt:
            for row, similarity in self._alike(worded.prompt, self.config.near):
                found.setdefault(row, Hit(row, "near", similarity))
        return list(found.values())

    def _shared(self, text: Hashes) -> list[tuple[int, float]]:
        """Evaluation rows with n-grams of the training row, and what share of theirs."""
        own = grams(text, self.config.ngram)
        if not len(own) or not len(self.grams):
            return []
        places = np.minimum(np.searchsorted(self.grams, own), len(self.grams) - 1)
        counts: dict[int, int] = defaultdict(int)
        for place in np.unique(places[self.grams[places] == own]).tolist():
            for row in self.owners[place]:
                counts[row] += 1
        return [(row, count / self.sizes[row]) for row, count in counts.items()]

    def _alike(self, prompt: Hashes, threshold: float) -> list[tuple[int, float]]:
        signed = signature(prompt, SHINGLE, PERMUTATIONS)
        keys = Bands.at(threshold, PERMUTATIONS).cut(signed)
        rows = {row for band, key in enumerate(keys) for row in self.bands.get((band, key), ())}
        compared = [(row, float(np.mean(self.signatures[row] == signed))) for row in sorted(rows)]
        return [(row, similarity) for row, similarity in compared if similarity >= threshold]


@dataclass
class Contamination:
    """What was found of an index in training rows."""

    index: Index
    found: dict[int, tuple[str, int, By, float]] = field(default_factory=dict)
    """By evaluation row: the training row that has most of it, and how it was found."""

    def add(self, source: str, number: int, hits: Sequence[Hit]) -> None:
        for hit in hits:
            known = self.found.get(hit.evaluated)
            if known is None or hit.similarity > known[3]:
                self.found[hit.evaluated] = (source, number, hit.by, hit.similarity)

    @property
    def rows(self) -> int:
        """Evaluation rows that were found."""
        return sum(self.index.counts[row] for row in self.found)

    @property
    def share(self) -> float:
        """Of all evaluation rows; 0 where there are none."""
        return self.rows / self.index.rows if self.index.rows else 0.0

    def examples(self) -> list[dict[str, Any]]:
        """Each evaluation row that was found, and where."""
        return [
            {
                "evaluation": "{}:{}".format(*self.index.names[row]),
                "training": f"{source}:{number}",
                "by": by,
                "similarity": round(similarity, 4),
            }
            for row, (source, number, by, similarity) in sorted(self.found.items())
        ]
