"""Texts that are nearly the same: MinHash (Broder 1997) by `datasketch`, and the banding of locality-sensitive hashing
(Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, chapter 3).

Only what must be compared is in memory: eight bytes for each band of a row. Signatures lie in a temporary file.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import xxhash
from numpy.typing import NDArray

from rlsys.curation.exact import normal

if TYPE_CHECKING:
    from datasketch import MinHash

Hashes: TypeAlias = NDArray[np.uint64]
Signatures: TypeAlias = NDArray[np.uint32]
"""[texts, permutations]."""
EAST_ASIAN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
WORD = re.compile(rf"[{EAST_ASIAN}]|[^\W{EAST_ASIAN}]+")
"""Scripts without blanks have a word for each character."""
FACTOR = 6364136223846793005
"""Odd, and its powers modulo 2 ** 64 look random (Knuth's MMIX)."""
MOST_KNOWN = 1 << 18
"""Words whose hashes are remembered: about 40 MB."""
FOUND = 0.97
"""Of the pairs at the threshold, the part that is compared at all; of more similar ones it is nearer to 1."""
SEED = 1


class _Known(dict[str, int]):
    def __missing__(self, word: str) -> int:
        if len(self) > MOST_KNOWN:
            self.clear()
        found = self[word] = xxhash.xxh3_64_intdigest(word.encode("utf-8", "replace"))
        return found


_known = _Known()


def words(text: str) -> Hashes:
    """A hash of each word of the text, in order, whatever its case."""
    return np.array([_known[word] for word in WORD.findall(normal(text))], dtype=np.uint64)


def grams(hashes: Hashes, size: int) -> Hashes:
    """A hash of each `size` words in a row; none of a text that has fewer words."""
    count = len(hashes) - size + 1
    found = np.zeros(max(count, 0), dtype=np.uint64)
    for place in range(size if count > 0 else 0):
        found = found * np.uint64(FACTOR) + hashes[place : place + count]
    return found ^ (found >> np.uint64(32))


def signature(hashes: Hashes, shingle: int, permutations: int) -> NDArray[np.uint32]:
    """The MinHash of a text's shingles; a shorter text is one shingle."""
    shingles = grams(hashes, min(shingle, max(len(hashes), 1)))
    found = _hasher(permutations)
    found.clear()
    found.update_batch((shingles & np.uint64(0xFFFFFFFF)).tolist())
    return found.hashvalues.astype(np.uint32)


@cache
def _hasher(permutations: int) -> MinHash:
    from datasketch import MinHash  # it brings scipy, and most commands need neither

    return MinHash(num_perm=permutations, seed=SEED, hashfunc=int, scheme="affine32")


@dataclass(frozen=True, slots=True)
class Bands:
    """How a signature is cut, so that two texts at the threshold share a band with high probability."""

    count: int
    rows: int

    @classmethod
    @cache
    def at(cls, threshold: float, permutations: int) -> Bands:
        """The longest bands of which two texts at the threshold share one with probability `FOUND`, which is
        1 - (1 - s ** rows) ** count: the longer they are, the fewer texts are compared in vain."""
        cuts = [cls(permutations // rows, rows) for rows in range(1, permutations + 1)]
        return max((one for one in cuts if one.meets(threshold) >= FOUND), key=lambda one: one.rows, default=cuts[0])

    def meets(self, similarity: float) -> float:
        """The probability that two texts share a band."""
        return 1 - (1 - similarity**self.rows) ** self.count

    def cut(self, signature: NDArray[np.uint32]) -> list[bytes]:
        """The bands of one signature."""
        data, size = signature.tobytes(), 4 * self.rows
        return [data[start : start + size] for start in range(0, self.count * size, size)]

    def keys(self, signatures: Signatures) -> Hashes:
        """[texts, bands]: equal where the band is, and by chance with probability 2 ** -64."""
        found = np.zeros((len(signatures), self.count), dtype=np.uint64)
        for row in range(self.rows):
            found = found * np.uint64(FACTOR) + signatures[:, row : self.count * self.rows : self.rows]
            found ^= found >> np.uint64(29)
        return found


@dataclass(frozen=True, slots=True)
class Alike:
    row: int
    other: int
    """The earlier one."""
    similarity: float
    """Estimated Jaccard similarity."""


class NearDuplicates:
    """Rows are numbered from 0, in the order in which they are added."""

    def __init__(self, threshold: float, permutations: int) -> None:
        self._threshold, self._permutations = threshold, permutations
        self._bands = Bands.at(threshold, permutations)
        self._keys: list[Hashes] = []
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  (it lives as long as the object, and has no name)

    def add(self, signatures: Signatures) -> None:
        self._keys.append(self._bands.keys(signatures))
        self._file.write(signatures.tobytes())

    def search(self, alive: NDArray[np.bool_], part: Sequence[int] | None = None) -> Iterator[Alike]:
        """Each row among those `alive` that is like an earlier one which stays, with the first such. With `part`, each
        row's split, only what lies in different ones, and every row stays."""
        self._file.flush()
        buckets = self._buckets(alive)
        staying: dict[tuple[int, int], list[int]] = defaultdict(list)
        for row in sorted(buckets):
            doubled = False
            for alike in self._compared(row, dict.fromkeys(one for own in buckets[row] for one in staying[own])):
                crosses = part is not None and part[row] != part[alike.other]
                doubled = doubled or not crosses
                if part is None or crosses:
                    yield alike
                if part is None:
                    break
            if not doubled:
                for bucket in buckets[row]:
                    staying[bucket].append(row)

    def _compared(self, row: int, others: Iterable[int]) -> Iterator[Alike]:
        own = self._signature(row)
        for other in others:
            similarity = float(np.mean(own == self._signature(other)))
            if similarity >= self._threshold:
                yield Alike(row, other, similarity)

    def _buckets(self, alive: NDArray[np.bool_]) -> dict[int, list[tuple[int, int]]]:
        """Of each row that shares a band with another, which."""
        keys = np.concatenate(self._keys) if self._keys else np.zeros((0, self._bands.count), dtype=np.uint64)
        rows = np.flatnonzero(alive)
        found: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for band in range(self._bands.count):
            own = keys[rows, band]
            order = np.argsort(own, kind="stable")
            ordered = own[order]
            same = ordered[1:] == ordered[:-1]
            shared = np.zeros(len(rows), dtype=bool)
            shared[1:] |= same
            shared[:-1] |= same
            for place in np.flatnonzero(shared):
                found[int(rows[order[place]])].append((band, int(ordered[place])))
        return found

    def _signature(self, row: int) -> NDArray[np.uint32]:
        size = 4 * self._permutations
        return np.frombuffer(os.pread(self._file.fileno(), size, row * size), dtype=np.uint32)
