"""How responses are drawn: as a config says it, and as a sampler is told."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from rlsys.config.base import Model


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample. `max_tokens` bounds the response. temperature 0 is greedy."""

    temperature: float
    top_p: float
    top_k: int
    max_tokens: int
    n: int
    """Samples per prompt."""


class SamplingConfig(Model):
    temperature: NonNegativeFloat = 1.0
    """Softmax temperature; training scores log-probs at the same one."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Nucleus sampling bound; 1 is off. Training scores whole distributions, so importance weights then also make up
    for what was cut off."""
    top_k: NonNegativeInt = 0
    """Sample among so many most likely tokens; 0 is off."""
    max_tokens: PositiveInt = 1024
    """Longest response."""

    def sampling(self, n: int) -> Sampling:
        return Sampling(self.temperature, self.top_p, self.top_k, self.max_tokens, n)

    def greedy(self) -> Sampling:
        return Sampling(0.0, 1.0, 0, self.max_tokens, 1)
