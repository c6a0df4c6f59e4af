"""Pauses, headers and reasons; the clients' own tests show them at work."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from rlsys.judging.endpoint.retries import Backoff, Fault, LoopThread, plain, retry_after


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7), (" 0 ", 0), ("-1", None), ("1.5", None), ("soon", None), ("", None)]
)
def test_retry_after_in_seconds(header: str, seconds: float | None):
    assert retry_after({"Retry-After": header}) == seconds


def test_retry_after_as_a_date():
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert 95 < (retry_after({"Retry-After": date}) or 0) <= 100
    assert retry_after({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    assert retry_after({}) is None


def test_the_backoff_doubles_to_its_cap_whatever_is_asked_in_between():
    backoff = Backoff(3.0, random.Random(0))
    waits = [backoff.after(Fault("busy", wait)) for wait in (None, 10.0, None, 0.0, None)]
    for wait, (low, high) in zip(waits, [(0.25, 0.5), (3, 3), (1, 2), (0, 0), (1.5, 3)], strict=True):
        assert low <= wait <= high


def test_a_reason_is_one_short_line_without_the_token():
    assert plain("bad\n key  s3cret", "s3cret") == "bad key ***"
    assert plain("x" * 301, None) == "x" * 297 + "..."


def test_closing_the_thread_cancels_its_work():
    thread, entered = LoopThread("loop-under-test"), threading.Event()

    async def waits() -> None:
        entered.set()
        await asyncio.sleep(60)

    call = thread.start(waits)
    assert call is not None
    assert entered.wait(5)
    ended: list[float] = []

    async def last() -> None:
        ended.append(time.monotonic())

    thread.close(last)
    thread.close(last)
    assert (call.cancelled(), len(ended), thread.alive, thread.start(waits)) == (True, 1, False, None)
