"""What is asked again, after what pause, and what is not."""

from __future__ import annotations

import socket
import time

import pytest
from support.chat_bodies import chat
from support.echo_endpoint import GOOD, TEXT, bodies, poison
from support.fault_server import LIMIT, SLOW, Act, Server, busy, hangs, resets, says

from rlsys.errors import RlsysError
from rlsys.judging.backend import Failure

PASSING = [says({}, status) for status in (408, 409, 429, 500, 503)] + [resets]


@pytest.mark.parametrize("fault", PASSING, ids=["408", "409", "429", "500", "503", "reset"])
def test_a_passing_fault_is_tried_again(ask, server: Server, fault: Act):
    assert ask(fault, fault, GOOD, retries=2).text == "fine"
    assert len(server.seen) == 3


def test_a_request_that_fails_while_others_are_served_is_to_blame(ask, server: Server):
    assert ask(poison(says({}, 500)), retries=2) == Failure("HTTP 500 (attempt 3)")
    assert (len(bodies(server)), len(server.seen)) == (3, 4)
    assert ask(poison(hangs), timeout=1.0) == Failure("no whole reply within 1 s (attempt 1)")
    result = ask(poison(resets), retries=1)
    assert isinstance(result, Failure)
    assert result.reason.startswith(("ReadError", "RemoteProtocolError"))


def test_retry_after_is_obeyed_up_to_the_cap(ask, pauses: list[float]):
    assert ask(*busy(), GOOD, retries=5, max_wait=40).text == "fine"
    assert pauses[:4] == [0, 1, 40, 0]
    assert 25 < pauses[4] <= 30


def test_the_pause_doubles_up_to_the_cap(ask, pauses: list[float]):
    ask(*[says({}, 500)] * 5, GOOD, retries=5, max_wait=3)
    for pause, longest in zip(pauses, [0.5, 1, 2, 3, 3], strict=True):
        assert longest / 2 <= pause <= longest


@pytest.mark.parametrize("status", [400, 413, 422])
def test_the_clients_own_fault_is_not_tried_again(ask, server: Server, status: int):
    result = ask(says({"error": {"message": "no such\nmodel"}}, status), retries=3)
    assert result == Failure(f'HTTP {status}: {{"error": {{"message": "no such\\nmodel"}}}}')
    assert len(server.seen) == 1


def test_reasons_are_short(ask):
    assert len(ask(says({"error": "x" * 5000}, 400)).reason) == 300


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_refused(ask, server: Server, status: int):
    result = ask(says(chat(), status, Location=server.url + "/other"), retries=3)
    assert result == Failure(f"HTTP {status}: redirects are not followed; give the final base_url")
    assert [path for path, _, _ in server.seen] == ["/v1/chat/completions"]


@pytest.mark.parametrize("slow", SLOW.values(), ids=SLOW)
def test_the_timeout_is_for_the_whole_attempt(ask, server: Server, slow: Act):
    start = time.monotonic()
    assert ask(slow, slow, GOOD, retries=2, timeout=5 * LIMIT).text == "fine"
    assert 2 * 5 * LIMIT <= time.monotonic() - start < 8
    assert len(server.seen) == 3


def test_nobody_listens(make):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        backend = make(f"http://127.0.0.1:{taken.getsockname()[1]}/v1", retries=0, outage_limit=0.05)
        with pytest.raises(RlsysError, match=r"has been away since .*ConnectError"):
            backend.ask([TEXT])
