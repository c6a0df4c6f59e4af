"""VeRA (Kopiczko et al. 2023, arXiv 2310.11454): W = W0 + diag(b) B diag(d) A, where one random pair A (r x inputs), B
(outputs x r) is frozen and shared by all layers, and the vectors b and d of each are trained.

b starts at 0, so that the model at first is the base model. Trained: r + outputs of each layer. What is saved holds the
pair's seed, not the pair.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, eq=False)
class AddScaledPair:
    """W0 + diag(b) B diag(d) A, float32, of what each layer takes of the shared pair (r x largest inputs, largest
    outputs x r)."""

    shared_a: Tensor
    shared_b: Tensor

    def __call__(self, weight: Tensor, b: Tensor, d: Tensor) -> Tensor:
        outputs, inputs = weight.shape
        pair = [shared.to(weight) for shared in (self.shared_a[:, :inputs], self.shared_b[:outputs])]
        return weight + b[:, None] * (pair[1] @ (d[:, None] * pair[0]))

    def __reduce__(self) -> tuple[type[AddScaledPair], tuple[Tensor, Tensor]]:
        """To a process that may have no GPU."""
        return AddScaledPair, (self.shared_a.cpu(), self.shared_b.cpu())


class Adapter(Tuner):
    config: Config
    trained = (f"vera_lambda_b.{DEFAULT}", f"vera_lambda_d.{DEFAULT}")
    pair: AddScaledPair | None = None

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

    def formula(self, layer: Any) -> Callable[..., Tensor]:
        a, b = layer.vera_A[DEFAULT], layer.vera_B[DEFAULT]
        if self.pair is None or self.pair.shared_a is not a:  # one for all layers, so that it is sent once
            self.pair = AddScaledPair(a, b)
        return self.pair

    def borrowed(self) -> Iterator[tuple[nn.Module, nn.Parameter]]:
        for layer in self.layers():
            yield layer, layer.vera_lambda_b[DEFAULT]
            yield layer, layer.vera_lambda_d[DEFAULT]
