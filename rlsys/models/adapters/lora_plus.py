"""LoRA+ (Hayou et al. 2024, arXiv 2402.12354): LoRA whose B learns `ratio` times as fast as A. Only the optimizer
differs; what is saved is a LoRA adapter."""

from __future__ import annotations

from pydantic import PositiveFloat

from rlsys.models.adapters import lora


class Config(lora.Config):
    kind: str = "lora_plus"
    """This file."""
    ratio: PositiveFloat = 16.0
    """Learning rate of B over that of A, which is policy.learning_rate."""


class Adapter(lora.Adapter):
    def rate(self, name: str) -> float:
        assert isinstance(self.config, Config)
        return self.config.ratio if ".lora_B." in name else 1.0
