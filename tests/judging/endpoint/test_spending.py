"""How many requests are under way at once, how fast they are begun, and for how much."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.chat_bodies import chat
from support.echo_endpoint import ALL, REQUESTS, echoes, texts
from support.fault_server import Handler, says, serving

from rlsys.errors import ConfigError, RlsysError
from rlsys.judging.backend import Failure, Reply

MILLION = 1_000_000


def test_no_more_are_under_way_than_allowed(make):
    with serving() as server:
        lock, under_way, most = threading.Lock(), 0, 0

        def counts(handler: Handler) -> None:
            nonlocal under_way, most
            with lock:
                under_way += 1
                most = max(most, under_way)
            time.sleep(0.02)
            with lock:
                under_way -= 1
            echoes(handler)

        server.acts = [counts]
        backend = make(server.url, concurrency=5)
        with ThreadPoolExecutor(3) as threads:
            calls = [threads.submit(backend.ask, REQUESTS[start : start + 20]) for start in (0, 20, 40)]
            assert [text for call in calls for text in texts(call.result(30))] == ALL
        assert most == 5


def test_requests_are_begun_at_the_pace_that_was_set(make):
    with serving() as server:
        starts: list[float] = []

        def notes(handler: Handler) -> None:
            starts.append(time.monotonic())
            echoes(handler)

        server.acts = [notes]
        start = time.monotonic()
        assert texts(make(server.url, requests_per_minute=1200).ask(REQUESTS[:21])) == ALL[:21]
    assert starts[-1] - start >= 20 * 0.05
    for index, at in enumerate(sorted(starts)):
        assert at - start >= index * 0.05 - 0.001


COSTLY = {"price_per_million_prompt_tokens": MILLION, "price_per_million_completion_tokens": 2 * MILLION}
"""10 prompt tokens and 2 completion tokens cost 14. A question of 8 bytes by a "user" costs 8 + 4 + 64 + 2 x 5 = 86 at
most."""


def test_the_run_stops_before_more_is_spent_than_allowed(make):
    """Two replies fit: 14 + 86 = 100, and 28 + 86 > 100."""
    with serving() as server:
        server.acts = [echoes]
        backend = make(server.url, max_cost=100, **COSTLY)
        [one] = backend.ask(REQUESTS[:1])
        assert isinstance(one, Reply)
        assert (one.cost, backend.spent) == (14, 14)
        with pytest.raises(
            RlsysError,
            match=r"^judge.endpoint.max_cost: 28 of 100 are spent and the next .* 86; raise it and start again",
        ) as e:
            backend.ask(REQUESTS[:9])
        assert "\n" not in str(e.value)
        assert (len(server.seen), backend.spent) == (2, 28)


def test_what_was_spent_before_counts(make):
    with serving() as server:
        server.acts = [echoes]
        with pytest.raises(RlsysError, match="max_cost: 20 of 100 are spent"):
            make(server.url, spent=20.0, max_cost=100, **COSTLY).ask(REQUESTS[:1])
        assert server.seen == []


def test_requests_under_way_are_waited_for_before_the_money_is_said_to_be_gone(make):
    """Two reserve 86 each of 200; the others wait until it turns out that those cost 14."""
    with serving() as server:
        server.acts = [echoes]
        backend = make(server.url, max_cost=200, concurrency=8, **COSTLY)
        assert texts(backend.ask(REQUESTS[:9])) == ALL[:9]
        assert backend.spent == 9 * 14
        with pytest.raises(RlsysError, match="max_cost: 126 of 200"):
            backend.ask(REQUESTS[:1])


def test_a_reply_that_tells_no_usage_counts_as_the_most_it_may_cost(make):
    with serving() as server:
        server.acts = [says(chat(usage=None)), says(b"{")]
        backend = make(server.url, max_cost=300, **COSTLY)
        [reply] = backend.ask(REQUESTS[:1])
        assert isinstance(reply, Reply)
        assert (reply.cost, backend.spent) == (0, 86)
        assert isinstance(backend.ask(REQUESTS[:1])[0], Failure)
        assert backend.spent == 172


def test_a_limit_without_prices_is_refused(make):
    with pytest.raises(ConfigError, match=r"judge.endpoint.max_cost: limits nothing without prices"):
        make("http://127.0.0.1:9", max_cost=1)
