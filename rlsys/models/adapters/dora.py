"""DoRA (Liu et al. 2024, arXiv 2402.09353): W = m (W0 + (alpha / r) B A) / ||W0 + (alpha / r) B A||, the norm of each
row; direction and magnitude m are trained apart.

m starts as the norms of W0, so that the model at first is the base model. Trained: outputs more than LoRA of each
layer. Samplers get merged weights only: vLLM fails inside a step on a DoRA adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlsys.models.adapters import lora
from rlsys.models.adapters.lora import AddProduct
from rlsys.models.adapters.shared.tuner import DEFAULT

if TYPE_CHECKING:
    from torch import Tensor, nn


class Config(lora.Config):
    kind: str = "dora"
    """This file."""


@dataclass(frozen=True, slots=True)
class Renormalize:
    """m (W0 + scale B A) / the norm of each row of what is in brackets, all float32."""

    scale: float

    def __call__(self, weight: Tensor, a: Tensor, b: Tensor, magnitude: Tensor) -> Tensor:
        direction = AddProduct(self.scale)(weight, a, b)
        return direction * (magnitude / direction.norm(dim=1))[:, None]


class Adapter(lora.Adapter):
    trained = (*lora.Adapter.trained, f"lora_magnitude_vector.{DEFAULT}.weight")

    def variant(self) -> dict[str, Any]:
        return {"use_dora": True}

    def formula(self, layer: Any) -> Callable[..., Tensor]:
        return Renormalize(layer.scaling[DEFAULT])

    def borrowed(self) -> Iterator[tuple[nn.Module, nn.Parameter]]:
        for layer in self.layers():
            reader = layer.lora_magnitude_vector[DEFAULT]
            for owner in (layer.base_layer, layer.lora_A[DEFAULT], layer.lora_B[DEFAULT]):
                yield reader, owner.weight
