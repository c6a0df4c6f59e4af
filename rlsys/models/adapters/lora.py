"""LoRA (Hu et al. 2021, arXiv 2106.09685): W = W0 + (alpha / r) B A, where A is r x inputs, B outputs x r, W0 stays.

B starts at 0, so that the model at first is the base model. Trained: r x (inputs + outputs) of each layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field, PositiveFloat, PositiveInt

from rlsys.models.adapters.shared.targets import TargetedConfig, fits
from rlsys.models.adapters.shared.tuner import DEFAULT, Tuner

if TYPE_CHECKING:
    from peft import LoraConfig
    from torch import Tensor


class Config(TargetedConfig):
    kind: str = "lora"
    """This file."""
    rank: PositiveInt = 16
    """Rank r of the adapter's matrices; 8 to 64 is usual."""
    alpha: PositiveFloat = 32.0
    """Scale: what the matrices add is multiplied by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the adapter's input."""


@dataclass(frozen=True, slots=True)
class AddProduct:
    """W0 + scale B A, of float32 W0, A and B."""

    scale: float

    def __call__(self, weight: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return weight + self.scale * (b @ a)


class Adapter(Tuner):
    config: Config
    trained = (f"lora_A.{DEFAULT}.weight", f"lora_B.{DEFAULT}.weight")

    def peft_config(self, names: list[str], targets: list[str]) -> LoraConfig:
        from peft import LoraConfig

        fits(self.config.rank, self.network, names)
        return LoraConfig(
            r=self.config.rank,
            lora_alpha=self.config.alpha,  # pyright: ignore[reportArgumentType]  # floats work
            lora_dropout=self.config.dropout,
            target_modules=targets,
            bias="none",
            **self.variant(),
        )

    def variant(self) -> dict[str, Any]:
        """What a relative of LoRA says to peft."""
        return {}

    def formula(self, layer: Any) -> Callable[..., Tensor]:
        """With the scale that peft computed."""
        return AddProduct(layer.scaling[DEFAULT])
