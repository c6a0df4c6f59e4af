"""Partial training: the first layers and the embeddings stay, the rest is trained whole. Nothing is added. Where the
output head is the embedding (tied weights), it stays with it."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeInt

from rlsys.errors import ConfigError
from rlsys.models.adapters import base
from rlsys.models.adapters.shared.targets import layer_count, layer_number


class Config(base.AdapterConfig):
    kind: str = "freeze"
    """This file."""
    layers: NonNegativeInt
    """The first so many layers stay."""
    embeddings: bool = True
    """The embeddings stay as well."""
    export: Literal["both", "merged", "adapter"] = "merged"
    """As for every kind; what is trained is most of the model, so by default it is not written twice."""


class Adapter(base.Adapter):
    config: Config

    def place(self) -> None:
        count = layer_count(self.network)
        if self.config.layers > count or (self.config.layers == 0 and not self.config.embeddings):
            raise ConfigError(
                f"model.adapter.layers: the model has {count} layers, so from {0 if self.config.embeddings else 1} to "
                f"{count} can stay, not {self.config.layers}"
            )
        for name, parameter in self.network.named_parameters():
            number = layer_number(name)
            parameter.requires_grad_(number is None or number >= self.config.layers)
        if self.config.embeddings:
            self.network.get_input_embeddings().requires_grad_(False)
