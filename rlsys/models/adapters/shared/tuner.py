"""Kinds that peft knows as layers around a model's own: put in place by it, saved in its format, merged by each kind's
own formula (in float32, rounded once)."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from rlsys.errors import ConfigError
from rlsys.models.adapters import base
from rlsys.models.adapters.shared.targets import chosen, short, train_whole

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import Tensor

DEFAULT = "default"
"""peft's name of the one adapter."""
WRAPPED = ".base_layer."
"""What peft puts into the names of a layer that it wraps."""
PEFT_PREFIX = "base_model.model."
"""Of the model's own names, in peft's files."""
NOT_OF_THE_KIND = {
    "base_model_name_or_path", "revision", "inference_mode", "peft_version", "task_type", "modules_to_save",
    "target_modules", "feedforward_modules", "auto_mapping",
}  # fmt: skip
"""What adapter_config.json may say otherwise without being another adapter; layers are compared by their tensors."""


class Tuner(base.Adapter):
    """Its `Config` is a `TargetedConfig`. `peft_config` says what is put in place, `formula` what it makes of a layer's
    weight and of its `trained` parameters."""

    trained: ClassVar[tuple[str, ...]]
    """Names of a layer's trained parameters within it, as the formula takes them."""

    @abstractmethod
    def peft_config(self, names: list[str], targets: list[str]) -> PeftConfig:
        """Of the layers with these names, which `targets` calls as shortly as possible."""

    @abstractmethod
    def formula(self, layer: Any) -> Callable[..., Tensor]:
        """As `Merge.formula`, of the wrapped layer's weight."""

    def bias_formula(self, layer: Any) -> Callable[..., Tensor] | None:
        """The same of its bias; None where that stays."""
        return None

    def place(self) -> None:
        from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
        from peft.utils.peft_types import PeftType

        names = chosen(self.network, self.config)
        self.described = self.peft_config(names, short(self.network, names))
        self.described.task_type = "SEQ_CLS" if self.network.get_output_embeddings() is None else "CAUSAL_LM"
        try:
            # peft's own function for this refuses VeRA, whose layers share what the tuner then holds.
            tuner = PEFT_TYPE_TO_TUNER_MAPPING[PeftType(self.described.peft_type)]
            tuner(self.network, self.described, adapter_name=DEFAULT)
        except ValueError as error:
            raise ConfigError(f"model.adapter: {str(error).splitlines()[0]}") from error
        train_whole(self.network, self.config.modules_to_save)

    def layers(self) -> Iterator[Any]:
        from peft.tuners.tuners_utils import BaseTunerLayer

        return (module for module in self.network.modules() if isinstance(module, BaseTunerLayer))

    def merge(self, name: str) -> base.Merge | None:
        wrapper, _, own = name.rpartition(WRAPPED)
        if not wrapper:
            return None
        layer = self.network.get_submodule(wrapper)
        formula = self.bias_formula(layer) if own == "bias" else self.formula(layer)
        return base.Merge(formula, tuple(f"{wrapper}.{part}" for part in self.trained)) if formula else None

    def enable(self, on: bool) -> None:
        for layer in self.layers():
            layer.enable_adapters(on)

    def tensors(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        from peft import get_peft_model_state_dict

        own = {name: tensor for name, tensor in parameters.items() if self.base_names[name] is None}
        adapter = get_peft_model_state_dict(self.network, state_dict=own, save_embedding_layers=False)
        whole = {self.base_names[name]: tensor for name, tensor in parameters.items() if name not in own}
        return {f"{PEFT_PREFIX}{name}": tensor for name, tensor in (adapter | whole).items()}

    def description(self) -> dict[str, Any]:
        found = self.described.to_dict()
        scalar = ("score",) if self.network.get_output_embeddings() is None else ()
        found["modules_to_save"] = [*self.config.modules_to_save, *scalar] or None
        found["inference_mode"] = True
        return json.loads(json.dumps(found, default=sorted))  # some values are sets

    def load(self, tensors: dict[str, Tensor], described: Mapping[str, Any]) -> None:
        own = self.description()
        for key in own.keys() - NOT_OF_THE_KIND:
            if key in described and described[key] != own[key]:
                raise ConfigError(
                    f"model.adapter.path: its {key} is {described[key]!r}, and this config's {own[key]!r}; take its "
                    "settings"
                )
        super().load(tensors, described)
