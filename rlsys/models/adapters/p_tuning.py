"""P-tuning (Liu et al. 2021, arXiv 2103.10385): trained vectors before the input's embeddings, made by an encoder (an
MLP of three layers) of trained embeddings.

What is saved is what the encoder makes. Trained: tokens x width + (width + 1) x hidden + (hidden + 1) x hidden +
(hidden + 1) x width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import PositiveInt

from rlsys.models.adapters import prompt
from rlsys.models.adapters.shared import soft

if TYPE_CHECKING:
    from peft import PromptEncoderConfig


class Config(soft.SoftConfig):
    kind: str = "p_tuning"
    """This file."""
    hidden_size: PositiveInt = 128
    """Width of the encoder's hidden layers."""

    def loaded(self) -> prompt.Config:
        return prompt.Config(tokens=self.tokens)


class Adapter(soft.Soft):
    config: Config

    def peft_config(self) -> PromptEncoderConfig:
        from peft import PromptEncoderConfig

        return PromptEncoderConfig(
            num_virtual_tokens=self.config.tokens,
            encoder_hidden_size=self.config.hidden_size,
            encoder_reparameterization_type="MLP",
        )
