"""Whether an endpoint is away, and the wait until it is back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from rlsys.errors import JudgeOutage
from rlsys.judging.endpoint.retries import Fault

FIRST_WAIT = 1.0
"""Seconds between the first two probes; doubles with each one."""
LONGEST_WAIT = 30.0


class OutageWatch:
    """All requests of a backend share one. `probe` asks the endpoint for next to nothing: None when it answers, else
    what went wrong. Between probes at least as long is waited as the endpoint asks for, up to `max_wait`. Lives on one
    event loop; `away_since` and `outages` may be read from any thread."""

    def __init__(self, what: str, probe: Callable[[], Awaitable[Fault | None]], limit: float, max_wait: float) -> None:
        """`what`: the endpoint in words. `limit`, `max_wait`: seconds."""
        self._what, self._probe, self._limit, self._max_wait = what, probe, limit, max_wait
        self._check: asyncio.Task[bool] | None = None
        self._unserved_since: float | None = None
        self.away_since: float | None = None
        """When the first probe failed, by `time.monotonic`; None while the endpoint is there."""
        self.away_reason = ""
        """What the last failed probe met."""
        self.outages = 0
        """How many have ended."""

    async def here(self) -> None:
        """Returns once the endpoint is there. Raises JudgeOutage where it stays away, and what `probe` raises."""
        while self.away_since is not None and self._check is not None:
            await asyncio.shield(self._check)

    async def was_away(self) -> bool:
        """For a request that has used up its retries: False where the endpoint answers, so that the request is to
        blame; True once the endpoint is back from having been away. Raises JudgeOutage, and what `probe` raises."""
        if self._check is None:
            self._check = asyncio.create_task(self._look())
            self._check.add_done_callback(self._done)
        return await asyncio.shield(self._check)

    def served(self) -> None:
        """A request was answered. Until then an outage that begins anew goes on: its limit holds for both together."""
        self._unserved_since = None

    def _done(self, check: asyncio.Task[bool]) -> None:
        self._check = None
        if not check.cancelled():
            check.exception()  # everybody who waited has it; where nobody did, it is no error of the loop's

    async def _look(self) -> bool:
        fault = await self._probe()
        if fault is None:
            return False
        if self._unserved_since is None:
            self._unserved_since = time.monotonic()
        self.away_reason = fault.reason
        self.away_since, wait = self._unserved_since, FIRST_WAIT
        try:
            while (left := self.away_since + self._limit - time.monotonic()) > 0:
                await asyncio.sleep(min(left, max(wait, min(self._max_wait, fault.wait or 0.0))))
                wait = min(LONGEST_WAIT, 2 * wait)
                if (fault := await self._probe()) is None:
                    self.outages += 1
                    return True
                self.away_reason = fault.reason
            raise self._outage(self.away_since, fault.reason)
        finally:
            self.away_since = None

    def _outage(self, since: float, reason: str) -> JudgeOutage:
        start = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time.time() - (time.monotonic() - since)))
        return JudgeOutage(
            f"{self._what} has been away since {start}, longer than judge.endpoint.outage_limit ({self._limit:g} s): "
            f"{reason}; "
            "start again once it is back (a run: `rlsys resume`); what was answered is kept"
        )
