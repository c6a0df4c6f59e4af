"""IA3 (Liu et al. 2022, arXiv 2205.05638): keys, values and the input of the feed-forward block's last layer are
multiplied by trained vectors: k = l_k * (W_k x), v = l_v * (W_v x), f = W_down (l_f * h).

The vectors start at 1, so that the model at first is the base model. Trained: outputs of each layer, inputs of a
feed-forward one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlsys.errors import ConfigError
from rlsys.models.adapters.shared.targets import TargetedConfig
from rlsys.models.adapters.shared.tuner import DEFAULT, Tuner

if TYPE_CHECKING:
    from peft import IA3Config
    from torch import Tensor, nn


class Config(TargetedConfig):
    kind: str = "ia3"
    """This file."""
    target_modules: str | tuple[str, ...] = ("k_proj", "v_proj", "down_proj")
    """Linear layers that are scaled: of keys, values and the feed-forward block's last one."""
    feedforward_modules: tuple[str, ...] = ("down_proj",)
    """Those of them whose inputs are scaled, by the last part of their names; outputs of the others are."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A weight, or the bias of its outputs, times what is trained: one row for inputs, one column for outputs."""

    def __call__(self, weight: Tensor, scale: Tensor) -> Tensor:
        return weight * (scale if weight.dim() == 2 else scale[:, 0])


class Adapter(Tuner):
    config: Config
    trained = (f"ia3_l.{DEFAULT}",)

    def peft_config(self, names: list[str], targets: list[str]) -> IA3Config:
        from peft import IA3Config

        last = {name.rpartition(".")[2] for name in names}
        for name in self.config.feedforward_modules:
            if name not in last:
                known = ", ".join(sorted(last))
                raise ConfigError(f"model.adapter.feedforward_modules: {name!r} is not among target_modules ({known})")
        forward = [name for name in targets if name.rpartition(".")[2] in self.config.feedforward_modules]
        return IA3Config(target_modules=targets, feedforward_modules=forward)

    def formula(self, layer: Any) -> Callable[..., Tensor]:
        return Scale()

    def bias_formula(self, layer: Any) -> Callable[..., Tensor] | None:
        return None if layer.is_feedforward else Scale()

    def borrowed(self) -> Iterator[tuple[nn.Module, nn.Parameter]]:
        return ((layer, layer.ia3_l[DEFAULT]) for layer in self.layers())
