"""QLoRA (Dettmers et al. 2023, arXiv 2305.14314): LoRA whose base is kept in NF4, four bits a weight, with double
quantisation: W = dequantised(W0) + (alpha / r) B A, with A and B in the model's dtype.

B starts at 0, so that the model at first is the quantised base. That is the base everywhere: samplers get dequantised
weights with the adapter merged into them. All linear layers but the output head are quantised, with an adapter or
without.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from rlsys.errors import ConfigError
from rlsys.models.adapters import lora
from rlsys.models.adapters.shared.targets import linear_layers

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from rlsys.models.adapters.shared.nf4_layer import NF4Linear


class Config(lora.Config):
    kind: str = "qlora"
    """This file."""

    # peft imports it wherever it is installed, whatever the kind, which takes more than a second. To keep peft from it
    # the package would have to be hidden from the whole process, and peft remembers that there is none: kinds of users'
    # own that are made of its layers would no longer work.
    package: ClassVar[str | None] = "bitsandbytes"
    never_with: ClassVar[Mapping[str, str]] = {
        "zero_3": "packed weights are unpacked a whole one at a time, and ZeRO 3 spreads each over the ranks"
    }


class Adapter(lora.Adapter):
    def __init__(self, network: PreTrainedModel, config: Config) -> None:
        from rlsys.models.adapters.shared.nf4_layer import NF4Linear

        dtype = network.dtype
        self.packed: dict[str, NF4Linear] = {f"{n}.weight": NF4Linear(m) for n, m in linear_layers(network).items()}
        for name, layer in self.packed.items():
            network.set_submodule(name.removesuffix(".weight"), layer)
        super().__init__(network, config)
        self.packed = {
            name: self.packed[as_] for name, as_ in self.base_names.items() if as_ is not None and as_ in self.packed
        }
        for name, parameter in network.named_parameters():
            if self.base_names[name] is None:
                parameter.data = parameter.data.to(dtype)  # peft can't tell it from packed weights

    def place(self) -> None:
        for wanted in self.config.modules_to_save:
            if held := next((name for name in self.packed if f".{wanted}." in f".{name}"), None):
                raise ConfigError(
                    f"model.adapter.modules_to_save: {wanted} holds {held}, which is quantised and can't be trained "
                    "whole; leave it out, or choose lora"
                )
        super().place()

    def plain(self, name: str, parameter: Tensor) -> Tensor:
        return self.packed[name].dequantized() if name in self.packed else super().plain(name, parameter)

    def plain_shape(self, name: str, parameter: Tensor) -> tuple[int, ...]:
        if name not in self.packed:
            return super().plain_shape(name, parameter)
        return self.packed[name].out_features, self.packed[name].in_features

    def constants(self) -> int:
        return sum(layer.constants for layer in self.packed.values())
