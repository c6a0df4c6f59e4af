"""P-tuning v2 (Liu et al. 2021, arXiv 2110.07602): trained keys and values before those of the input, in each layer.

Trained: tokens x layers x 2 x width of the keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from rlsys.models.adapters.shared import soft

if TYPE_CHECKING:
    from peft import PrefixTuningConfig


class Config(soft.SoftConfig):
    kind: str = "p_tuning_v2"
    """This file."""

    unmergeable: ClassVar[str | None] = "trained keys and values before the input's are no weights of the base model"
    never_with: ClassVar[Mapping[str, str]] = {
        **soft.SoftConfig.never_with,
        "checkpointing": "keys and values of before are left out where a layer is computed again",
    }


class Adapter(soft.Soft):
    def peft_config(self) -> PrefixTuningConfig:
        from peft import PrefixTuningConfig

        return PrefixTuningConfig(num_virtual_tokens=self.config.tokens, **self.encoding())

    def encoding(self) -> dict[str, Any]:
        return {"prefix_projection": False}

    def before(self, body: Any, arguments: Any, asked: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return arguments, {**asked, "past_key_values": self.vectors(len(asked["input_ids"]))}

    def after(self, body: Any, arguments: Any, found: Any) -> Any:
        return found
