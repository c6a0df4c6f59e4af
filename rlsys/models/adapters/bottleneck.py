"""Bottleneck adapters: y + U f(D y + d) + u after a block's last linear layer, before what goes around the block is
added; D is size x width, U width x size.

`houlsby` (Houlsby et al. 2019, arXiv 1902.00751) after attention and after feed-forward, `pfeiffer` (Pfeiffer et al.
2020, arXiv 2005.00247) after feed-forward only. U and u start at 0, so that the model at first is the base model.
Trained: 2 x size x width + size + width of each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import PositiveInt

from rlsys.errors import ConfigError
from rlsys.models.adapters import base
from rlsys.models.adapters.shared.targets import ATTENTION, layer_number, linear_layers

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Config(base.AdapterConfig):
    kind: str = "bottleneck"
    """This file."""
    placement: Literal["houlsby", "pfeiffer"] = "pfeiffer"
    """After attention and feed-forward, or after feed-forward only."""
    size: PositiveInt = 64
    """Width of the bottleneck."""
    activation: Literal["relu", "gelu", "silu"] = "relu"
    """The nonlinearity f."""
    export: Literal["both", "merged", "adapter"] = "adapter"
    """What a finished run's `final` holds: only the adapter can be written."""

    @property
    def keeps_base(self) -> bool:
        return True

    unmergeable: ClassVar[str | None] = "a bottleneck has a nonlinearity, so no weights of the base model can hold it"


class Adapter(base.Adapter):
    config: Config

    def place(self) -> None:
        from rlsys.models.adapters.shared.bottleneck_layer import Bottleneck

        self.network.requires_grad_(False)
        for name in places(self.network, self.config.placement):
            parent, _, last = name.rpartition(".")
            layer = self.network.get_submodule(name)
            wrapped = Bottleneck(layer, self.config.size, self.config.activation)  # pyright: ignore[reportArgumentType]
            setattr(self.network.get_submodule(parent), last, wrapped)

    def enable(self, on: bool) -> None:
        from rlsys.models.adapters.shared.bottleneck_layer import Bottleneck

        for module in self.network.modules():
            if isinstance(module, Bottleneck):
                module.enabled = on


def places(network: PreTrainedModel, placement: Literal["houlsby", "pfeiffer"]) -> list[str]:
    """The last linear layer of each block that the placement means: of layer n's attention, and of what is not."""
    last: dict[tuple[int, bool], str] = {}
    for name in linear_layers(network):
        number = layer_number(name)
        if number is not None:
            last[number, any(word in name for word in ATTENTION)] = name
    found = [name for (_, attention), name in last.items() if placement == "houlsby" or not attention]
    if not any(attention for _, attention in last) or not found:
        raise ConfigError(
            f"model.adapter.kind: bottleneck finds no attention and feed-forward blocks in {type(network).__name__} "
            "by their names; choose lora"
        )
    return found
