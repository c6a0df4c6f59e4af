"""Which split a row belongs to, told by the row alone; and what lies in several."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rlsys.curation.exact import short
from rlsys.curation.near import NearDuplicates
from rlsys.curation.settings import SplitConfig
from rlsys.data.nested import find
from rlsys.data.raw import BadRow
from rlsys.data.values import as_text, kind, present
from rlsys.samples import stable_seed

How = Literal["group", "prompt", "near"]


@dataclass(frozen=True, slots=True)
class Crossing:
    """Two rows that belong together and lie in different splits."""

    by: How
    row: int
    other: int


def split_of(value: dict[str, Any], prompt: int, config: SplitConfig) -> int:
    """The place of its split in `config.names`; `prompt`: a hash of what is asked. Raises BadRow for a row without the
    column."""
    if config.by == "time":
        assert config.column is not None
        time = find(value, config.column, "column")
        for place, bound in enumerate(config.until):
            if _is_before(time, bound, config.column):
                return place
        return len(config.until)
    chance = stable_seed("split", group_of(value, prompt, config)) / 2**63 * sum(config.shares)
    bounds = itertools.accumulate(config.shares)
    return next((place for place, bound in enumerate(bounds) if chance < bound), len(config.names) - 1)


def group_of(value: dict[str, Any], prompt: int, config: SplitConfig) -> int:
    """A hash that rows which belong together share: of the column, by hash, or of the prompt."""
    if config.column is None or config.by == "time":
        return prompt
    return short(as_text(find(value, config.column, "column")))


def _is_before(time: Any, bound: str | float, column: str) -> bool:
    of_one_kind = isinstance(time, str) if isinstance(bound, str) else isinstance(time, (int, float))
    if present(time) is None or not of_one_kind or isinstance(time, bool):
        raise BadRow(f"the column {column!r} is {kind(time)}, and splits.until has {bound!r}")
    return time < bound


def crossings(
    parts: NDArray[np.int8],
    prompts: NDArray[np.int64],
    groups: NDArray[np.int64],
    alive: NDArray[np.bool_],
    near: NearDuplicates | None,
) -> Iterator[Crossing]:
    """The offending pairs among the rows that are `alive`: each row with the first of another split that shares its
    group or prompt, or that is nearly the same. All arrays have an entry for each row."""
    rows = np.flatnonzero(alive)
    own_groups = not np.array_equal(groups[rows], prompts[rows])
    for by, keys in (("group", groups), ("prompt", prompts)) if own_groups else (("prompt", prompts),):
        first: dict[int, int] = {}
        order = rows[np.argsort(keys[rows], kind="stable")]
        same = keys[order][1:] == keys[order][:-1]
        for row in (
            order[np.concatenate([[False], same]) | np.concatenate([same, [False]])].tolist() if len(order) else ()
        ):
            other = first.setdefault(int(keys[row]), row)
            if parts[row] != parts[other]:
                yield Crossing("group" if by == "group" else "prompt", row, other)
    if near is not None:
        for alike in near.search(alive, part=parts.tolist()):
            if prompts[alike.row] != prompts[alike.other]:
                yield Crossing("near", alike.row, alike.other)


def sizes(parts: NDArray[np.int8], alive: NDArray[np.bool_], names: Sequence[str]) -> dict[str, int]:
    """Rows of each split."""
    return {name: int(np.count_nonzero(parts[alive] == place)) for place, name in enumerate(names)}
