"""The instructions that a new one must differ from."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from rapidfuzz import process
from rapidfuzz.distance import Indel

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
        found = process.extractOne(words(text), self._words, scorer=Indel.normalized_similarity)
        return None if found is None else Nearest(self.ids[found[2]], found[1])


def rouge_l(one: str, other: str) -> float:
    """F measure of ROUGE-L (Lin 2004) over words: with the longest common subsequence LCS of m and n words, precision LCS/m and recall LCS/n give
    F = 2 LCS / (m + n). That is 1 - Indel distance / (m + n), the distance that counts insertions and deletions alone.
    """
    return Indel.normalized_similarity(words(one), words(other))


def words(text: str) -> list[str]:
    """In lower case, without punctuation. A script without spaces is one word from one mark to the next."""
    return WORD.findall(text.lower())
