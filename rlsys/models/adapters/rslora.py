"""rsLoRA (Kalajdzievski 2023, arXiv 2312.03732): LoRA with the scale alpha / sqrt(r), under which a larger rank does
not learn more slowly."""

from __future__ import annotations

from typing import Any

from rlsys.models.adapters import lora


class Config(lora.Config):
    kind: str = "rslora"
    """This file."""


class Adapter(lora.Adapter):
    def variant(self) -> dict[str, Any]:
        return {"use_rslora": True}
