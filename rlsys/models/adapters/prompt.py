"""Prompt tuning (Lester et al. 2021, arXiv 2104.08691): trained vectors stand before the input's embeddings.

They change the output from the first step on: they start at random. Trained: tokens x width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlsys.models.adapters.shared import soft

if TYPE_CHECKING:
    from peft import PromptTuningConfig


class Config(soft.SoftConfig):
    kind: str = "prompt"
    """This file."""


class Adapter(soft.Soft):
    config: Config

    def peft_config(self) -> PromptTuningConfig:
        from peft import PromptTuningConfig

        return PromptTuningConfig(num_virtual_tokens=self.config.tokens)
