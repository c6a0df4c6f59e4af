"""Rows that mean the same, by an embedding of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsys import registry
from rlsys.errors import ConfigError

BLOCK = 1024
"""Rows that are compared at once."""


class Embeddings:
    """Each row is compared with all earlier ones that stay: the time grows with the square of the rows, the memory with
    the rows (4 bytes a dimension)."""

    def __init__(self, path: str, cosine: float) -> None:
        self._path, self._cosine = path, cosine
        self._embed: Callable[[list[str]], Any] = registry.resolve("rlsys.curation", path, "embed")
        self._rows: list[int] = []
        self._vectors: list[NDArray[np.float32]] = []

    def add(self, rows: Sequence[tuple[int, str]]) -> None:
        """Raises ConfigError for a function that gives anything but one vector of numbers for each text."""
        if not rows:
            return
        found = np.asarray(self._embed([text for _, text in rows]), dtype=np.float32)
        if found.ndim != 2 or len(found) != len(rows) or not np.isfinite(found).all():
            raise ConfigError(
                f"deduplication.embedding: {self._path} gave an array of shape {list(found.shape)} for {len(rows)} "
                "texts; wanted finite numbers [texts, size]"
            )
        norms = np.linalg.norm(found, axis=1, keepdims=True)
        self._vectors.append((found / np.where(norms == 0, 1, norms)).astype(np.float32))
        self._rows += [row for row, _ in rows]

    def search(self, alive: NDArray[np.bool_]) -> Iterator[tuple[int, int, float]]:
        """Each row that is like an earlier one which stays, the nearest such, and the cosine."""
        if not self._rows:
            return
        vectors, rows = np.concatenate(self._vectors), np.array(self._rows)
        vectors, rows = vectors[alive[rows]], rows[alive[rows]]
        staying: list[int] = []
        for start in range(0, len(rows), BLOCK):
            block = vectors[start : start + BLOCK]
            before = block @ vectors[staying].T
            within = block @ block.T
            new: list[int] = []
            for place in range(len(block)):
                scores = np.concatenate([before[place], within[place, [one - start for one in new]]])
                best = int(np.argmax(scores)) if len(scores) else -1
                if best >= 0 and scores[best] >= self._cosine:
                    yield int(rows[start + place]), int(rows[[*staying, *new][best]]), float(scores[best])
                else:
                    new.append(start + place)
            staying += new
