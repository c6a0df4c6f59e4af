"""Sizes of the playground's models; apart from their code, so that a configuration check need not import
transformers."""

from __future__ import annotations

from rlsys.config.base import Model


class Shape(Model):
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    """vLLM's CPU attention takes multiples of 32 (and 80, 112)."""
    intermediate: int


SIZES = {
    "0.5m": Shape(hidden=128, layers=3, heads=4, kv_heads=4, head_size=32, intermediate=256),
    "25m": Shape(hidden=512, layers=8, heads=8, kv_heads=4, head_size=64, intermediate=1536),
}
