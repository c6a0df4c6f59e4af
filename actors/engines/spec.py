"""What a sampling engine is made from. Apart from the engine, so that the driver can say it without importing vLLM."""

from __future__ import annotations

from dataclasses import dataclass

from rlsys.config.models import RolloutConfig


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """What one engine samples from, and on what."""

    model: str
    """Local folder or hub id."""
    dtype: str
    """float32 or bfloat16."""
    max_model_len: int
    """Longest prompt plus response, tokens."""
    seed: int
    """The run's seed; each sample derives its own from it."""
    config: RolloutConfig
    on_gpu: bool = False
    sleeps: bool = False
    """Give the GPU's memory back between calls, to a trainer on the same GPU."""
