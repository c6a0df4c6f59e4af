"""What every client of a service over HTTP shares: pauses before retries, the token, one-line reasons, a thread to run
on."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import random
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from rlsys.errors import ConfigError

FIRST_WAIT = 0.5
"""Seconds before the first retry, at most (jitter takes up to half of it away); doubles with each one."""
CLOSING_TIME = 5.0
"""Seconds for closing connections, and for an attempt's own bookkeeping beyond its timeout."""
LONGEST_REASON = 300
"""Characters of a reason: the service may have written it."""
T = TypeVar("T")


@dataclass(frozen=True)
class Fault:
    """An attempt that may be repeated. `wait`: seconds that the service asks for, None if it does not say."""

    reason: str
    wait: float | None = None


class Backoff:
    """The pauses of one request: doubled from one to the next, jittered, never longer than `max_wait` seconds."""

    def __init__(self, max_wait: float, jitter: random.Random) -> None:
        self._max_wait, self._jitter = max_wait, jitter
        self._longest = min(max_wait, FIRST_WAIT)

    def after(self, fault: Fault) -> float:
        """Seconds until the next attempt: what the service asks for, else the backoff's own."""
        wait = self._longest * self._jitter.uniform(0.5, 1.0) if fault.wait is None else fault.wait
        self._longest = min(self._max_wait, 2 * self._longest)
        return min(self._max_wait, wait)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from now. The header holds seconds or a date (RFC 9110, 10.2.3); anything else says nothing."""
    value = headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def read_token(variable: str, place: str) -> str:
    """The bearer token in an environment variable; `place` is the setting that names it. Raises ConfigError where no
    header can carry it."""
    token = os.environ.get(variable, "")
    if not token:
        raise ConfigError(
            f"{place}: the environment variable {variable} is not set; export it with the bearer token where Ray runs "
            "its actors: here, before "
            "Ray starts, or on a cluster before `ray start` on each machine"
        )
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise ConfigError(f"{place}: the token in {variable} has spaces, line ends or characters outside ASCII")
    return token


def plain(text: str, token: str | None) -> str:
    """One short line, without the token: what a service sends back may hold what it was sent."""
    if token:
        text = text.replace(token, "***")
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 3] + "..."


class LoopThread:
    """An event loop in a thread of its own: there a time limit can cancel a whole attempt, whatever the service
    drips."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()
        self._lock = threading.Lock()
        self._closed = False

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def start(self, work: Callable[[], Coroutine[Any, Any, T]]) -> concurrent.futures.Future[T] | None:
        """None where the thread was closed."""
        with self._lock:
            return None if self._closed else asyncio.run_coroutine_threadsafe(work(), self._loop)

    def close(self, last: Callable[[], Awaitable[None]]) -> None:
        """Cancel all work, await `last`, end the thread. A second time does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        asyncio.run_coroutine_threadsafe(self._end(last), self._loop).result(CLOSING_TIME)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSING_TIME)
        self._loop.close()

    async def _end(self, last: Callable[[], Awaitable[None]]) -> None:
        calls = asyncio.all_tasks() - {asyncio.current_task()}
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await last()
