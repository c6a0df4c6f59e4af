from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from support.echo_endpoint import TEXT, backends
from support.fault_server import Act, Server, serving

from rlsys.judging.backend import Failure, Reply, Request
from rlsys.judging.endpoint import outage
from rlsys.judging.endpoint.openai_backend import OpenAIBackend


@pytest.fixture
def make() -> Iterator[Callable[..., OpenAIBackend]]:
    with backends() as make:
        yield make


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint that went away is looked for at once."""
    monkeypatch.setattr(outage, "FIRST_WAIT", 0.05)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def connect(server: Server, make: Callable[..., OpenAIBackend]) -> Callable[..., OpenAIBackend]:
    """`connect(setting=...)`: a backend that asks `server` once, and does not wait for one that is away."""
    return lambda **settings: make(f"{server.url}/v1", **{"retries": 0, "outage_limit": 0.05, **settings})


@pytest.fixture
def ask(server: Server, connect: Callable[..., OpenAIBackend]) -> Callable[..., Reply | Failure]:
    """`ask(act, act, ..., setting=...)`: what becomes of one request to a server that plays these acts; `request` may
    be given too."""

    def run(*acts: Act, request: Request = TEXT, **settings) -> Reply | Failure:
        server.acts, server.seen = list(acts), []
        [result] = connect(**settings).ask([request])
        return result

    return run
