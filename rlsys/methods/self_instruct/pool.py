"""The instructions that a new one must differ from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rapidfuzz import process
from rapidfuzz.distance import Indel, LCSseq

WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Nearest:
    """`rouge_l` is the F measure, from 0 to 1."""

    task_id: str
    rouge_l: float


class Pool:
    """Instructions by id, in the order in which they came."""

    def __init__(self, instructions: Iterable[tuple[str, str]] = ()) -> None:
        self.ids: list[str] = []
        self.texts: list[str] = []
        self._words: list[list[str]] = []
        for task_id, text in instructions:
            self.add(task_id, text)

    def add(self, task_id: str, text: str) -> None:
        self.ids.append(task_id)
        self.texts.append(text)
        self._words.append(words(text))

    def nearest(self, text: str) -> Nearest | None:
        """The first of the most alike ones; None of an empty pool."""
        own = words(text)
        found = process.extractOne(own, self._words, scorer=Indel.normalized_similarity)
        return None if found is None else Nearest(self.ids[found[2]], f_measure(own, found[0]))


def rouge_l(one: str, other: str) -> float:
    """F measure of ROUGE-L (Lin 2004) over words, from 0 to 1."""
    return f_measure(words(one), words(other))


def f_measure(one: Sequence[str], other: Sequence[str]) -> float:
    """With the longest common subsequence LCS of m and n words, precision LCS/m and recall LCS/n give F = 2 LCS / (m +
    n); 1 where there are no words at all. Indel similarity is the same up to rounding: its distance counts insertions
    and deletions, m + n - 2 LCS."""
    both = len(one) + len(other)
    return 2 * LCSseq.similarity(one, other) / both if both else 1.0


def words(text: str) -> list[str]:
    """In lower case, without punctuation. A script without spaces is one word from one mark to the next."""
    return WORD.findall(text.lower())
