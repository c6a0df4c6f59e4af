"""Prefix tuning (Li and Liang 2021, arXiv 2101.00190): trained keys and values before those of the input, in each
layer, made by an MLP of trained embeddings.

What is saved is what the MLP makes. Trained, with d for the width of the keys: tokens x d + (d + 1) x hidden +
(hidden + 1) x layers x 2 x d.
"""

from __future__ import annotations

from typing import Any

from pydantic import PositiveInt

from rlsys.models.adapters import p_tuning_v2


class Config(p_tuning_v2.Config):
    kind: str = "prefix"
    """This file."""
    hidden_size: PositiveInt = 512
    """Width of the MLP's hidden layer."""

    def loaded(self) -> p_tuning_v2.Config:
        return p_tuning_v2.Config(tokens=self.tokens)


class Adapter(p_tuning_v2.Adapter):
    def encoding(self) -> dict[str, Any]:
        return {"prefix_projection": True, "encoder_hidden_size": self.config.hidden_size}
