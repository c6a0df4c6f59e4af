"""How fast an endpoint may be asked, and for how much."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rlsys.config.judge import EndpointConfig
from rlsys.errors import ConfigError, RlsysError
from rlsys.judging.backend import Request

MILLION = 1_000_000
TEMPLATE_TOKENS = 64
"""More than a chat template puts around a message."""


class Pace:
    """Spreads starts evenly: one every 60 / `per_minute` seconds at most; None is no limit. For one event loop."""

    def __init__(self, per_minute: float | None) -> None:
        self._gap = 60 / per_minute if per_minute else 0.0
        self._next = 0.0

    async def turn(self) -> None:
        if self._gap:
            start = max(time.monotonic(), self._next)
            self._next = start + self._gap
            await asyncio.sleep(start - time.monotonic())


class Budget:
    """What was spent, and what the requests under way may yet cost. For one event loop.

    An attempt that gave no reply counts nothing, though its endpoint may charge for it; a reply that can't be read or
    tells no usage counts as the most that it may have cost.
    """

    def __init__(self, config: EndpointConfig, spent: float) -> None:
        """Raises ConfigError for a limit without prices."""
        self._prompt = config.price_per_million_prompt_tokens
        self._completion = config.price_per_million_completion_tokens
        self._limit = config.max_cost
        if self._limit is not None and not (self._prompt or self._completion):
            raise ConfigError(
                "judge.endpoint.max_cost: limits nothing without prices; set "
                "judge.endpoint.price_per_million_prompt_tokens too"
            )
        self.spent = spent
        self._reserved: list[float] = []
        self._changed = asyncio.Event()

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        return (prompt_tokens * self._prompt + completion_tokens * self._completion) / MILLION

    def bound(self, request: Request, max_tokens: int) -> float:
        """The most that `request` may cost: a token is at least one byte of its text."""
        tokens = sum(len(text.encode(errors="replace")) for message in request.messages for text in message.values())
        return self.cost(tokens + TEMPLATE_TOKENS * len(request.messages), max_tokens)

    @asynccontextmanager
    async def reserved(self, bound: float) -> AsyncIterator[None]:
        """Holds back `bound` meanwhile. Waits for what is under way where both together may exceed the limit; raises
        RlsysError where `bound` alone may."""
        while self._limit is not None and self.spent + sum(self._reserved) + bound > self._limit:
            if not self._reserved:
                raise RlsysError(
                    f"judge.endpoint.max_cost: {self.spent:g} of {self._limit:g} are spent and the next request may "
                    f"cost {bound:.3g}; "
                    "raise it and start again (a run: `rlsys resume`, with the new limit in its config.yaml); what was "
                    "answered is kept"
                )
            self._changed.clear()
            await self._changed.wait()
        self._reserved.append(bound)
        try:
            yield
        finally:
            self._reserved.remove(bound)
            self._changed.set()
