"""Rows in an endless, reproducible order, epoch after epoch."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Generic, Protocol, TypeVar

from rlsys.data.answered import Answered
from rlsys.errors import DataError
from rlsys.samples import Prompt, stable_seed

RowT = TypeVar("RowT")


class Source(Protocol[RowT]):
    """Rows without end, whose position can be saved and restored."""

    def take(self, n: int) -> list[RowT]:
        """The next `n` rows. Raises DataError when there can't be so many at once."""
        ...

    def find(self, ids: Sequence[str]) -> list[RowT]:
        """The rows of these ids (of answered rows: their prompts'), in this order, as the data set has them. Raises
        DataError for one that it does not have."""
        ...

    def state(self) -> dict[str, Any]:
        """The position, for a checkpoint, with what it is a position in."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state()`. Raises DataError when it belongs to other data or another order."""
        ...


class Stream(Generic[RowT]):
    """Each epoch yields every row once, in an order that depends on (seed, epoch) alone, or in the given order without
    `shuffle`."""

    def __init__(self, rows: Sequence[RowT], seed: int, shuffle: bool) -> None:
        self._rows = rows
        self._seed = seed
        self._shuffle = shuffle
        self._epoch = 0
        self._position = 0
        self._order = self._draw_order()

    def take(self, n: int) -> list[RowT]:
        """The next `n` rows; past the end of an epoch the next one goes on. Prompts carry the epoch they were drawn in.

        Raises DataError when one epoch has fewer than `n` rows.
        """
        if n > len(self._rows):
            raise DataError(
                f"a step takes {n} rows at once, the data set has {len(self._rows)}; take fewer a step or use more data"
            )
        taken: list[RowT] = []
        while len(taken) < n:
            if self._position == len(self._rows):
                self._epoch, self._position = self._epoch + 1, 0
                self._order = self._draw_order()
            chosen = self._order[self._position : self._position + n - len(taken)]
            self._position += len(chosen)
            taken += [self._stamped(self._rows[index]) for index in chosen]
        return taken

    def find(self, ids: Sequence[str]) -> list[RowT]:
        """The rows of these ids, as the data set has them. Raises DataError for one that it does not have."""
        wanted = set(ids)
        found = {name: row for row in self._rows if (name := id_of(row)) in wanted}
        if missing := wanted - found.keys():
            raise DataError(f"the data set has no row {min(missing)}, which an earlier step took; restore the data")
        return [found[name] for name in ids]

    def state(self) -> dict[str, Any]:
        """The position, for a checkpoint, with what it is a position in."""
        return {"epoch": self._epoch, "position": self._position, **self._identity()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state()`. Raises DataError when it belongs to other data or another order."""
        changed = [key for key, value in self._identity().items() if state[key] != value]
        if changed:
            was, now = {key: state[key] for key in changed}, {key: self._identity()[key] for key in changed}
            raise DataError(
                f"the saved data position does not fit the data: it was for {was}, now there is {now}; restore data "
                "and seed"
            )
        self._epoch, self._position = state["epoch"], state["position"]
        self._order = self._draw_order()

    @property
    def rows(self) -> int:
        """Rows of an epoch."""
        return len(self._rows)

    @property
    def taken(self) -> int:
        """Rows taken so far, over all epochs."""
        return self._epoch * len(self._rows) + self._position

    def _identity(self) -> dict[str, Any]:
        return {"rows": len(self._rows), "seed": self._seed, "shuffle": self._shuffle}

    def _draw_order(self) -> list[int]:
        order = list(range(len(self._rows)))
        if self._shuffle:
            random.Random(stable_seed(self._seed, "data order", self._epoch)).shuffle(order)
        return order

    def _stamped(self, row: RowT) -> RowT:
        if isinstance(row, Answered):
            return replace(row, prompt=replace(row.prompt, epoch=self._epoch))
        return replace(row, epoch=self._epoch) if isinstance(row, Prompt) else row


def id_of(row: Any) -> str:
    return row.prompt_id if isinstance(row, Prompt) else row.row_id
