"""What training takes, worked out on the meta device: no weight is loaded, only shapes are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedModel

from rlsys.config.actors import ModelConfig, PolicyConfig
from rlsys.config.paths import STAGE
from rlsys.models.adapters.base import Adapter
from rlsys.models.adapters.shared.put import put_adapter
from rlsys.models.load import load_config

FLOAT32 = 4
"""Bytes."""
MOMENTS = {"adamw": 2, "rmsprop": 1}
"""Numbers that an optimizer keeps of each trained one."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one trained model: numbers of parameters, and bytes over all ranks together where ZeRO spreads them, else of
    each rank."""

    trained: int
    total: int
    weights: int
    gradients: int
    optimizer: int
    """Moments, and the float32 copies that bfloat16 and ZeRO 1 to 3 update."""
    file: int | None
    """The saved adapter; None for full training, or where only a merged model is written."""


def skeleton(folder: Path, heads: int | None, dtype: torch.dtype) -> PreTrainedModel:
    """The model without its weights; `heads` as of `TrainEngine`."""
    config = load_config(folder)
    kind = AutoModelForCausalLM if heads is None else AutoModelForSequenceClassification
    if heads is not None:
        config.num_labels = heads
    with torch.device("meta"):
        return kind.from_config(config, dtype=dtype)


def placed(model: ModelConfig, folder: Path, heads: int | None) -> Adapter:
    """The model's adapter in its skeleton. Raises ConfigError for one that doesn't fit, as the trainer would; one that
    a stage is still to train is not read."""
    adapter = model.adapter
    if adapter is not None and adapter.path is not None and adapter.path.startswith(STAGE):
        adapter = adapter.model_copy(update={"path": None})
    return put_adapter(skeleton(folder, heads, getattr(torch, model.dtype)), adapter, folder)


def cost(adapter: Adapter, config: PolicyConfig) -> Cost:
    parameters = dict(adapter.network.named_parameters())
    total = sum(math.prod(adapter.plain_shape(name, parameter)) for name, parameter in parameters.items())
    packed = sum(p.nbytes for p in parameters.values() if not p.is_floating_point())
    floating = sum(p.numel() for p in parameters.values() if p.is_floating_point())
    trained = sum(parameter.numel() for parameter in parameters.values() if parameter.requires_grad)
    width = adapter.network.dtype.itemsize
    copies = FLOAT32 if width < FLOAT32 or config.zero_stage > 0 else 0
    file = sum(parameters[name].numel() for name in adapter.saved()) * width if adapter.exports != "merged" else None
    return Cost(
        trained=trained,
        total=total,
        weights=floating * width + packed + adapter.constants(),
        gradients=trained * (FLOAT32 if config.zero_stage > 0 else width),
        optimizer=trained * (MOMENTS[config.optimizer] * FLOAT32 + copies),
        file=file,
    )
