"""When the endpoint goes away."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from support.chat_bodies import chat, label
from support.echo_endpoint import ALL, REQUESTS, echoes, question, texts
from support.fault_server import Act, Handler, hangs, resets, says, serving

from rlsys.errors import JudgeOutage, RlsysError
from rlsys.judging.backend import Reply, Request
from rlsys.judging.endpoint.outage import OutageWatch
from rlsys.judging.endpoint.retries import Fault

pytestmark = pytest.mark.usefixtures("quick")


class Endpoint:
    """Echoes, but plays `fault` for all requests while it is down."""

    def __init__(self, fault: Act) -> None:
        self.fault, self.answered = fault, list[str]()
        self.down, self.lock = threading.Event(), threading.Lock()
        self.down_after: int | None = None
        self.up_after_probes = 3
        self.probes = 0

    def __call__(self, handler: Handler) -> None:
        with self.lock:
            probe = question(handler) == "Hi"
            if self.down.is_set() and probe:
                self.probes += 1
                if self.probes > self.up_after_probes:
                    self.down.clear()
            elif not self.down.is_set() and len(self.answered) == self.down_after:
                self.down_after = None
                self.down.set()
            down = self.down.is_set()
            if not down and not probe:
                self.answered.append(question(handler))
        (self.fault if down else echoes)(handler)


FAULTS = {
    "503": says({}, 503),
    "429": says({}, 429, Retry_After="0"),
    "401": says({}, 401),
    "reset": resets,
    "hang": hangs,
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_an_outage_in_the_middle_changes_no_result(make, fault: Act):
    with serving() as server:
        endpoint = Endpoint(fault)
        server.acts = [endpoint]
        settings = {"concurrency": 8, "timeout": 1.0 if fault is hangs else 10.0}
        undisturbed = texts(make(server.url, **settings).ask(REQUESTS))
        endpoint.down_after, endpoint.answered = 20, []
        backend = make(server.url, **settings)
        assert texts(backend.ask(REQUESTS)) == undisturbed == ALL
    assert endpoint.probes == endpoint.up_after_probes + 1
    assert sorted(endpoint.answered) == sorted(f"number {number}" for number in range(60))  # each once
    assert backend.away_since is None


def test_probes_wait_as_long_as_they_are_asked_to():
    """Up to `max_wait`, and never less than they would anyway: 0.05, 0.1, 0.2 ... seconds here."""
    faults: list[Fault | None] = [Fault("busy", wait) for wait in (0.4, 9.0, 0.0, None)]
    times: list[float] = []

    async def probe() -> Fault | None:
        times.append(time.monotonic())
        return faults.pop(0) if faults else None

    assert asyncio.run(OutageWatch("it", probe, limit=30.0, max_wait=0.6).was_away())
    gaps = [later - sooner for sooner, later in pairwise(times)]
    for gap, least in zip(gaps, [0.4, 0.6, 0.2, 0.4], strict=True):
        assert least <= gap + 0.001 < least + 0.15


def test_nothing_is_asked_or_answered_while_the_endpoint_is_away(make):
    """A second caller, who comes during the outage, waits as well."""
    with serving() as server, ThreadPoolExecutor(2) as threads:
        endpoint = Endpoint(says({}, 503))
        endpoint.down.set()
        endpoint.up_after_probes = 1_000_000
        server.acts = [endpoint]
        backend = make(server.url, retries=0)
        first = threads.submit(backend.ask, REQUESTS[:2])
        end = time.monotonic() + 10
        while backend.away_since is None:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert 0 <= time.monotonic() - backend.away_since < 5
        assert backend.away_reason == "HTTP 503; it has never answered yet: look at judge.endpoint.base_url"
        with server.lock:
            server.seen.clear()
        second = threads.submit(backend.ask, REQUESTS[2:4])
        time.sleep(0.5)
        assert {body["messages"][0]["content"] for _, _, body in server.seen} == {"Hi"}
        assert not first.done()
        assert not second.done()
        endpoint.up_after_probes = 0
        assert texts(first.result(30)) + texts(second.result(30)) == ALL[:4]


def test_a_reply_that_comes_while_the_endpoint_is_away_waits_for_its_end(make):
    with serving() as server, ThreadPoolExecutor(2) as threads:
        served, back = threading.Event(), threading.Event()

        def act(handler: Handler) -> None:
            slow = question(handler) == "number 0"
            if slow:
                served.wait(10)
            (echoes if slow or back.is_set() else says({}, 503))(handler)

        server.acts = [act]
        backend = make(server.url, retries=0)
        first, second = threads.submit(backend.ask, REQUESTS[:1]), threads.submit(backend.ask, REQUESTS[1:2])
        end = time.monotonic() + 10
        while backend.away_since is None:
            assert time.monotonic() < end
            time.sleep(0.01)
        served.set()
        time.sleep(0.5)
        assert not first.done()
        back.set()
        assert texts(first.result(30)) + texts(second.result(30)) == ALL[:2]


def test_a_turn_that_comes_while_the_endpoint_is_away_is_not_taken(make):
    """The first request fails; those behind it wait for their turns when the probe finds the endpoint away."""
    with serving() as server, ThreadPoolExecutor(2) as threads:
        failed, back = threading.Event(), threading.Event()

        def act(handler: Handler) -> None:
            (echoes if back.is_set() else says({}, 503))(handler)
            failed.set()

        server.acts = [act]
        backend = make(server.url, retries=0, requests_per_minute=300)
        first = threads.submit(backend.ask, REQUESTS[:1])
        assert failed.wait(5)
        time.sleep(0.1)  # half a turn: the probe is next
        others = threads.submit(backend.ask, REQUESTS[1:4])
        time.sleep(1.5)
        assert [body["messages"][0]["content"] for _, _, body in server.seen][1:] == ["Hi"] * (len(server.seen) - 1)
        back.set()
        assert texts(first.result(30)) + texts(others.result(30)) == ALL[:4]


def test_a_server_that_starts_late_is_waited_for(make):
    with serving() as server:
        port = server.server_address[1]
        server.server_close()
        backend = make(server.url)
        with ThreadPoolExecutor(1) as threads:
            call = threads.submit(backend.ask, REQUESTS[:5])
            end = time.monotonic() + 10
            while backend.away_since is None:
                assert time.monotonic() < end
                time.sleep(0.01)
            with serving(port) as late:
                late.acts = [echoes]
                assert texts(call.result(30)) == ALL[:5]


def test_an_outage_beyond_the_limit_stops_the_run_and_says_how_to_go_on(make):
    with serving() as server:
        server.acts = [echoes] * 3 + [says({}, 503)]
        backend = make(server.url, retries=0, outage_limit=0.5, concurrency=2)
        start = time.monotonic()
        message = (
            r"^the judge judge at http://127.0.0.1:\d+ has been away since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d, longer than "
        )
        with pytest.raises(
            JudgeOutage, match=message + r"judge.endpoint.outage_limit \(0.5 s\): HTTP 503; start again once it is back"
        ):
            backend.ask(REQUESTS)
        assert 0.5 <= time.monotonic() - start < 5
        server.acts = [echoes]
        assert texts(backend.ask(REQUESTS)) == ALL  # of the next call nothing is held back


def test_outages_without_a_reply_between_them_share_one_limit(make):
    """The probe is served and no request ever is, as with a judge that dies of real questions: it must not go on for
    ever."""
    with serving() as server:
        down = iter([True, True, False] * 1000)

        def flaps(handler: Handler) -> None:
            (says({}, 503) if question(handler) != "Hi" or next(down) else echoes)(handler)

        server.acts = [flaps]
        start = time.monotonic()
        with pytest.raises(JudgeOutage):
            make(server.url, retries=0, outage_limit=1.0).ask(REQUESTS[:1])
        assert 1 <= time.monotonic() - start < 10


def test_one_bad_request_among_good_ones_fails_alone(make):
    with serving() as server:

        def act(handler: Handler) -> None:
            (says({}, 500) if question(handler) == "number 3" else echoes)(handler)

        server.acts = [act]
        assert texts(make(server.url).ask(REQUESTS)) == [*ALL[:3], "HTTP 500 (attempt 2)", *ALL[4:]]


def test_closing_ends_a_call_that_waits(make):
    with serving() as server, ThreadPoolExecutor(1) as threads:
        entered = threading.Event()

        def stays(handler: Handler) -> None:
            entered.set()
            hangs(handler)

        server.acts = [stays]
        backend = make(server.url)
        call = threads.submit(backend.ask, REQUESTS[:1])
        assert entered.wait(5)
        backend.close()
        with pytest.raises(RlsysError, match="connection was closed"):
            call.result(10)
    assert "openai-judge" not in [thread.name for thread in threading.enumerate()]


def test_labels_and_texts_in_one_call(make):
    with serving() as server:
        server.acts = [lambda handler: says(label(A=0.75, B=0.25) if "logprobs" in handler.body else chat())(handler)]
        replies = make(server.url).ask([REQUESTS[0], Request(REQUESTS[1].messages, ("A", "B")), REQUESTS[2]])
    assert [set(reply.label_log_probs) for reply in replies if isinstance(reply, Reply)] == [set(), {"A", "B"}, set()]
