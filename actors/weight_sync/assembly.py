"""What a sampler makes of the tensors that arrive. Where an adapter is sent alone, the sampler keeps the frozen weights
that it needs and merges for itself, as the trainer would: the model that samples is a plain one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from actors.weight_sync.records import Handshake, TensorSpec


class Assembly:
    """From the tensors of a sync to those that the model loads."""

    def __init__(self, handshake: Handshake) -> None:
        self.merges = handshake.merges
        self.frozen = {spec.name for spec in handshake.base}
        self.parts = {part for how in self.merges.values() for part in how.parts}
        self.loaded: dict[str, TensorSpec] = {
            spec.name: spec for spec in (*handshake.base, *handshake.expected) if spec.name not in self.parts
        }
        """Tensors that the model has a place for."""
        self.late: dict[str, None] = {}
        """Those that each sync loads when all of it has arrived, in order."""
        self.kept: dict[str, Tensor] = {}
        """Frozen tensors among them, in host memory."""
        self.arrived: dict[str, Tensor] = {}
        """What waits for the end of the running sync."""
        self.learned = not handshake.base

    def learn(self, modules: Mapping[str, frozenset[str]]) -> None:
        """`modules`: those of the sampler's model that each tensor goes into. A module (a fused one, say, of queries,
        keys and values) is loaded whole or not at all, so what changes in no sync must come with what does."""
        changing = self.merges.keys() | (self.loaded.keys() - self.frozen)
        touched = {module for name in changing for module in modules[name]}
        fed = self.frozen | self.merges.keys()
        late = {module for name in fed for module in modules[name] if module in touched}
        self.late = {name: None for name in self.loaded if modules[name] & late}
        self.learned = True

    def take(self, tensors: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """Verified tensors, which stay unchanged until the sync is over. Yields those that can be loaded at once."""
        for name, tensor in tensors:
            if name in self.frozen and name in self.late:
                self.kept[name] = tensor.to("cpu", copy=True)
            elif name in self.parts or name in self.late:
                self.arrived[name] = tensor
            else:
                yield name, tensor

    def rest(self, device: torch.device) -> Iterator[tuple[str, Tensor]]:
        """What is loaded when all has arrived, merged."""
        for name in self.late:
            weight = (self.arrived if name in self.arrived else self.kept)[name].to(device)
            how = self.merges.get(name)
            yield name, how(weight, [self.arrived[part].to(device) for part in how.parts]) if how else weight
        self.arrived = {}

    def start(self) -> None:
        self.arrived = {}

    def always(self) -> set[str]:
        """Names of the tensors that every sync loads."""
        return self.late.keys() | (self.loaded.keys() - self.frozen)
