"""What a trainer rank gives away of its weights, whole tensors one after the other: to samplers, files and hashes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from actors.weight_sync.records import Content
from rlsys.models.adapters.base import Adapter, Merge

GATHER_BYTES = 256 * 2**20
"""Where ranks share the weights, about so much of them is gathered at a time."""


class Weights:
    """Made before the weights are spread over ranks. `gather` makes parameters whole on all ranks within its context.

    All iterators are collective: all ranks go through them in step. A tensor is valid until the next one is asked for.
    """

    def __init__(
        self,
        adapter: Adapter,
        dtype: torch.dtype,
        gather: Callable[[list[nn.Parameter]], AbstractContextManager[object]],
    ) -> None:
        self.adapter, self.dtype, self.gather = adapter, dtype, gather
        self.shapes = {name: adapter.plain_shape(name, p) for name, p in adapter.network.named_parameters()}
        trained = {name for name, p in adapter.network.named_parameters() if p.requires_grad}
        plain = {name: as_ for name in self.shapes if (as_ := adapter.delivered_as(name)) is not None}
        self.names: dict[Content, dict[str, str]] = {
            "merged": plain,
            "base": {name: as_ for name, as_ in plain.items() if name not in trained},
            "trained": {name: adapter.delivered_as(name) or name for name in self.shapes if name in trained},
        }
        """Of each content, the parameters and what they are called outside."""

    def metadata(self, content: Content) -> list[tuple[str, torch.dtype, tuple[int, ...]]]:
        """Name, dtype and shape of what `named` gives; local."""
        return [(sent_as, self.dtype, self.shapes[name]) for name, sent_as in self.names[content].items()]

    def named(self, content: Content) -> Iterator[tuple[str, Tensor]]:
        """In `metadata`'s order, on this rank's device."""
        names = self.names[content]
        for name, parameter in self.whole(names, merging=content == "merged"):
            read = self.adapter.merged if content == "merged" else self.adapter.plain
            yield names[name], read(name, parameter)

    def merges(self) -> dict[str, Merge]:
        """How tensors of the base and the trained ones make those of the merged model, by name."""
        named = ((as_, self.adapter.merge(name)) for name, as_ in self.names["merged"].items())
        return {as_: how for as_, how in named if how is not None}

    def whole(self, names: Iterable[str], merging: bool = False) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters (and, if `merging`, what the adapter folds into each) gathered a group at a time."""
        parameters = dict(self.adapter.network.named_parameters())
        group: list[str] = []
        size = 0
        for name in names:
            group.append(name)
            size += math.prod(self.shapes[name]) * self.dtype.itemsize
            if size >= GATHER_BYTES:
                yield from self._gathered(group, parameters, merging)
                group, size = [], 0
        yield from self._gathered(group, parameters, merging)

    def _gathered(
        self, group: list[str], parameters: dict[str, nn.Parameter], merging: bool
    ) -> Iterator[tuple[str, nn.Parameter]]:
        own = [parameters[name] for name in group]
        parts = [part for name in group for part in self.adapter.parts(name)] if merging else []
        with self.gather(own + parts):
            yield from zip(group, own, strict=True)
