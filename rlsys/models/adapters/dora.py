"""DoRA (Liu et al. 2024, arXiv 2402.09353): W = m (W0 + (alpha / r) B A) / ||W0 + (alpha / r) B A||, the norm of each
row; direction and magnitude m are trained apart.

m starts as the norms of W0, so that the model at first is the base model. Trained: outputs more than LoRA of each
layer. Samplers get merged weights only: vLLM fails inside a step on a DoRA adapter.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rlsys.models.adapters import lora
from rlsys.models.adapters.lora import delta
from rlsys.models.adapters.shared.tuner import DEFAULT

if TYPE_CHECKING:
    from torch import Tensor, nn


class Config(lora.Config):
    kind: str = "dora"
    """This file."""


class Adapter(lora.Adapter):
    def variant(self) -> dict[str, Any]:
        return {"use_dora": True}

    def merged_weight(self, layer: Any, weight: Tensor) -> Tensor:
        direction = weight + delta(layer)
        magnitude = layer.lora_magnitude_vector[DEFAULT].weight.detach().float()
        return direction * (magnitude / direction.norm(dim=1))[:, None]

    def borrowed(self) -> Iterator[tuple[nn.Module, nn.Parameter]]:
        for layer in self.layers():
            reader = layer.lora_magnitude_vector[DEFAULT]
            for owner in (layer.base_layer, layer.lora_A[DEFAULT], layer.lora_B[DEFAULT]):
                yield reader, owner.weight
