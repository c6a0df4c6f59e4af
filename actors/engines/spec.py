"""What a sampling engine is made from. Apart from the engine, so that the driver can say it without importing vLLM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rlsys.config.actors import RolloutConfig


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
    fixed: bool = False
    """Nothing trains the model: sample from the weights that were loaded, as version 0, where an engine otherwise waits
    for proven ones."""
    template_variables: Mapping[str, bool | int | str] = field(default_factory=dict)
    """For the chat template, where the engine is asked as a judge."""
    stop_ids: tuple[int, ...] = ()
    """Tokens that end a sample, beside those that vLLM reads from the model's tokenizer and generation config."""
