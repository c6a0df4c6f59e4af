"""BitFit (Ben Zaken et al. 2021, arXiv 2106.10199): only biases are trained, and nothing is added."""

from __future__ import annotations

from rlsys.errors import ConfigError
from rlsys.models.adapters import base


class Config(base.AdapterConfig):
    kind: str = "bitfit"
    """This file."""


class Adapter(base.Adapter):
    def place(self) -> None:
        biases = 0
        for name, parameter in self.network.named_parameters():
            is_bias = name.rpartition(".")[2] == "bias"
            parameter.requires_grad_(is_bias)
            biases += is_bias
        if not biases:
            raise ConfigError(
                f"model.adapter.kind: bitfit trains biases, and this {type(self.network).__name__} has none (as most "
                "models since Llama); choose lora or ia3"
            )
