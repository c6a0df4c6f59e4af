"""Several data sets as one source of rows."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Generic, TypeVar

from rlsys.config.experiment import DataConfig
from rlsys.data.answered import Answered
from rlsys.data.load import Comparison, Demonstration
from rlsys.data.report import Loaded
from rlsys.data.stream import Source, Stream
from rlsys.errors import DataError
from rlsys.samples import Prompt, stable_seed

RowT = TypeVar("RowT", Prompt, Demonstration, Comparison, Answered)


def build_source(loaded: Sequence[Loaded[RowT]], data: DataConfig, seed: int) -> Source[RowT]:
    """`data.train` alone as a stream, or with `data.also` as a mixture; `loaded` has their rows in this order.

    In a mixture every row's id begins with the number of its set (`1/train:7` is of the first of `also`), so that no
    two rows share one.
    """
    assert data.train is not None
    configs = (data.train, *data.also)
    assert len(configs) == len(loaded), f"{len(configs)} data sets, {len(loaded)} loaded"
    if not data.also:
        return Stream(loaded[0].rows, seed, data.shuffle)
    names = [f"{number}/{config.path}:{config.split}" for number, config in enumerate(configs)]
    streams = [
        Stream([_renamed(row, number) for row in found.rows], stable_seed(seed, "set", number), data.shuffle)
        for number, found in enumerate(loaded)
    ]
    sizes = [config.weight * stream.rows for config, stream in zip(configs, streams, strict=True)]
    shares = with_fractions(sizes, [config.fraction for config in configs], data.mix_temperature)
    return Mixture(streams, shares, names, seed)


def with_fractions(sizes: Sequence[float], fractions: Sequence[float | None], temperature: float) -> list[float]:
    """A set with a fraction has it; the others share what is left as `probabilities` has it."""
    by_size = iter(
        probabilities([size for size, own in zip(sizes, fractions, strict=True) if own is None], temperature)
    )
    left = 1 - sum(own for own in fractions if own is not None)
    return [left * next(by_size) if own is None else own for own in fractions]


def probabilities(sizes: Sequence[float], temperature: float) -> list[float]:
    """size ** (1 / temperature), normalised (the mixing of arXiv 1907.05019, section 4.2): 1 keeps the sizes' ratio,
    infinity makes all equal."""
    largest = max(sizes)
    powers = [(size / largest) ** (1 / temperature) for size in sizes]
    return [power / sum(powers) for power in powers]


class Mixture(Generic[RowT]):
    """Each row is the next of a stream that is drawn at random; the stream of the k-th row depends on (seed, k) and the
    probabilities alone.

    A small set can come round several times within one `take`: its rows are then of different epochs.
    """

    def __init__(
        self, streams: Sequence[Stream[RowT]], probabilities: Sequence[float], names: Sequence[str], seed: int
    ) -> None:
        assert len(streams) == len(probabilities) == len(names)
        self._streams = streams
        self._probabilities = list(probabilities)
        self._edges = list(accumulate(probabilities))[:-1]
        self._names = list(names)
        self._seed = seed

    def take(self, n: int) -> list[RowT]:
        """The next `n` rows."""
        first = sum(stream.taken for stream in self._streams)
        return [self._stream_of(first + offset).take(1)[0] for offset in range(n)]

    def find(self, ids: Sequence[str]) -> list[RowT]:
        """The rows of these ids. Raises DataError for one that no set has."""
        of_set: dict[int, list[str]] = {}
        for name in ids:
            of_set.setdefault(int(name.partition("/")[0]), []).append(name)
        found = {number: iter(self._streams[number].find(names)) for number, names in of_set.items()}
        return [next(found[int(name.partition("/")[0])]) for name in ids]

    def state(self) -> dict[str, Any]:
        """The position in each stream, for a checkpoint, with what it is a position in."""
        return {**self._identity(), "streams": [stream.state() for stream in self._streams]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state()`. Raises DataError when it belongs to other data or another mixture."""
        changed = [key for key, value in self._identity().items() if state.get(key) != value]
        if changed:
            was, now = {key: state.get(key) for key in changed}, {key: self._identity()[key] for key in changed}
            raise DataError(
                f"the saved data position does not fit the mixture: it was for {was}, now there is {now}; restore data "
                "and seed"
            )
        for stream, position in zip(self._streams, state["streams"], strict=True):
            stream.restore(position)

    def balance(self) -> list[dict[str, Any]]:
        """Per set: its name, its rows, the share of draws asked for (0 to 1), the rows drawn so far and how many epochs
        these are."""
        return [
            {
                "name": name,
                "rows": stream.rows,
                "share": share,
                "drawn": stream.taken,
                "epochs": stream.taken / stream.rows,
            }
            for name, stream, share in zip(self._names, self._streams, self._probabilities, strict=True)
        ]

    def _stream_of(self, k: int) -> Stream[RowT]:
        return self._streams[bisect_right(self._edges, random.Random(stable_seed(self._seed, "mixture", k)).random())]

    def _identity(self) -> dict[str, Any]:
        return {"sets": self._names, "probabilities": self._probabilities, "seed": self._seed}


def _renamed(row: RowT, number: int) -> RowT:
    if isinstance(row, Prompt):
        return replace(row, prompt_id=f"{number}/{row.prompt_id}")
    if isinstance(row, Answered):
        return replace(row, prompt=_renamed(row.prompt, number), demonstration=_renamed(row.demonstration, number))
    return replace(row, row_id=f"{number}/{row.row_id}")


def epochs_taken(source: Source[Any]) -> float | None:
    """Passes over the training rows so far; None of a mixture, whose sets are drawn from at random."""
    main = source.main if isinstance(source, WithPretraining) else source
    return main.taken / main.rows if isinstance(main, Stream) and main.rows else None


@dataclass(frozen=True)
class WithPretraining(Source[Any]):
    """The rows of `main`, and beside them those of `pretraining`."""

    main: Source[Any]
    pretraining: Source[Any]

    def take(self, n: int) -> list[Any]:
        return self.main.take(n)

    def find(self, ids: Sequence[str]) -> list[Any]:
        return self.main.find(ids)

    def state(self) -> dict[str, Any]:
        return {"main": self.main.state(), "pretraining": self.pretraining.state()}

    def restore(self, state: dict[str, Any]) -> None:
        self.main.restore(state["main"])
        self.pretraining.restore(state["pretraining"])
