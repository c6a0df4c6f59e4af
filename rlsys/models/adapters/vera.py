"""VeRA (Kopiczko et al. 2023, arXiv 2310.11454): W = W0 + diag(b) B diag(d) A, where one random pair A (r x inputs), B
(outputs x r) is frozen and shared by all layers, and the vectors b and d of each are trained.

b starts at 0, so that the model at first is the base model. Trained: r + outputs of each layer. What is saved holds the
pair's seed, not the pair.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from rlsys.models.adapters.shared.targets import TargetedConfig
from rlsys.models.adapters.shared.tuner import DEFAULT, Tuner

if TYPE_CHECKING:
    from peft import VeraConfig
    from torch import Tensor, nn


class Config(TargetedConfig):
    kind: str = "vera"
    """This file."""
    rank: PositiveInt = 256
    """Rank r of the shared random pair; it costs r numbers of each layer, so it may be much larger than LoRA's."""
    d_initial: PositiveFloat = 0.1
    """What the vectors d start at."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the adapter's input."""
    projection_seed: NonNegativeInt = 0
    """The random pair is drawn from it."""


class Adapter(Tuner):
    config: Config

    def peft_config(self, names: list[str], targets: list[str]) -> VeraConfig:
        from peft import VeraConfig

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that only the seed is saved is meant
            return VeraConfig(
                r=self.config.rank,
                target_modules=targets,
                projection_prng_key=self.config.projection_seed,
                save_projection=False,
                vera_dropout=self.config.dropout,
                d_initial=self.config.d_initial,
                bias="none",
            )

    def merged_weight(self, layer: Any, weight: Tensor) -> Tensor:
        outputs, inputs = weight.shape
        b, d = layer.vera_lambda_b[DEFAULT].detach().float(), layer.vera_lambda_d[DEFAULT].detach().float()
        shared_a, shared_b = layer.vera_A[DEFAULT][:, :inputs].float(), layer.vera_B[DEFAULT][:outputs].float()
        return weight + b[:, None] * (shared_b @ (d[:, None] * shared_a))

    def borrowed(self) -> Iterator[tuple[nn.Module, nn.Parameter]]:
        for layer in self.layers():
            yield layer, layer.vera_lambda_b[DEFAULT]
            yield layer, layer.vera_lambda_d[DEFAULT]
