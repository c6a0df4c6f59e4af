"""Statuses that say that a key does not count, that there is no money, or no such model: of one request, or of the
endpoint."""

from __future__ import annotations

import pytest
from support.echo_endpoint import ALL, REQUESTS, echoes, question, texts
from support.fault_server import Act, Handler, Server, says

from rlsys.errors import ConfigError, JudgeOutage

pytestmark = [pytest.mark.usefixtures("quick"), pytest.mark.parametrize("status", [401, 402, 403, 404])]


def asked(server: Server) -> list[str]:
    return [body["messages"][0]["content"] for _, _, body in server.seen]


def refuses(status: int) -> Act:
    return says({"error": {"message": "not\nthis " + "x" * 5000}}, status)


def test_one_request_is_refused_and_the_others_are_served(make, server: Server, status: int):
    """Some gateways say so of what a request holds."""

    def act(handler: Handler) -> None:
        (refuses(status) if question(handler) == "number 3" else echoes)(handler)

    server.acts = [act]
    replies = texts(make(server.url, retries=3).ask(REQUESTS[:6]))
    assert replies[:3] + replies[4:] == ALL[:3] + ALL[4:6]
    assert replies[3].startswith(f'HTTP {status}: {{"error": {{"message": "not\\nthis xxx')
    assert len(replies[3]) == 300
    assert asked(server).count("number 3") == 1
    assert asked(server).count("Hi") == 1


def test_an_endpoint_that_never_served_is_misconfigured(make, server: Server, status: int):
    server.acts = [refuses(status)]
    backend = make(server.url, retries=3, outage_limit=3600.0, concurrency=2)
    with pytest.raises(ConfigError) as caught:
        backend.ask(REQUESTS)
    said = str(caught.value)
    assert said.startswith(f"judge.endpoint: {server.url} refuses whatever it is asked: HTTP {status}: ")
    assert said.endswith(
        "...; look at base_url, judge.model=judge, and the key in the variable that key_env names (none)"
    )
    assert "\n" not in said
    assert len(said) < 600
    assert asked(server).count("Hi") == 1
    assert len(asked(server)) < 10


def test_one_that_comes_up_and_refuses_is_misconfigured_too(make, server: Server, status: int):
    server.acts = [says({}, 503)] * 3 + [refuses(status)]
    with pytest.raises(ConfigError, match=f"HTTP {status}"):
        make(server.url, retries=0, outage_limit=3600.0, concurrency=1).ask(REQUESTS[:1])
    assert asked(server) == ["number 0", "Hi", "Hi", "Hi"]


def test_one_that_served_is_waited_for(make, server: Server, status: int):
    """A key may be renewed, an account be filled: no request is blamed meanwhile."""
    server.acts = [*[echoes] * 10, *[refuses(status)] * 3, echoes]
    assert texts(make(server.url, concurrency=1).ask(REQUESTS)) == ALL
    assert asked(server)[10:15] == ["number 10", "Hi", "Hi", "Hi", "number 10"]


def test_one_that_served_is_not_waited_for_without_end(make, server: Server, status: int):
    server.acts = [echoes, refuses(status)]
    with pytest.raises(JudgeOutage, match=rf"outage_limit \(0.5 s\): HTTP {status}: .*not"):
        make(server.url, outage_limit=0.5, concurrency=1).ask(REQUESTS)
