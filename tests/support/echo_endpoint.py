"""Requests to an endpoint, one that echoes questions, and backends that ask it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rlsys.config.judge import EndpointConfig
from rlsys.judging.backend import Failure, Reply, Request
from rlsys.judging.endpoint.openai_backend import PROBE, OpenAIBackend
from support.chat_bodies import chat
from support.fault_server import Act, Handler, Server, says

TEXT = Request(
    ({"role": "system", "content": "Judge."}, {"role": "user", "content": "Say ✓"}),
    max_tokens=7,
    temperature=0.5,
    seed=3,
)
LABELS = Request(({"role": "user", "content": "A or B?"},), ("A", "B"))
GOOD = says(chat())
REQUESTS = [Request(({"role": "user", "content": f"number {number}"},), max_tokens=5) for number in range(60)]


def question(handler: Handler) -> str:
    return handler.body["messages"][0]["content"]


def bodies(server: Server) -> list[dict]:
    """Of the requests, without the probes."""
    return [body for _, _, body in server.seen if body["messages"] != [dict(message) for message in PROBE.messages]]


def poison(act: Act) -> Act:
    """Plays `act` for every request but the probe, which is answered well."""
    return lambda handler: (GOOD if question(handler) == "Hi" else act)(handler)


def echoes(handler: Handler) -> None:
    says(chat(f"answer to {question(handler)}"))(handler)


def texts(replies: Sequence[Reply | Failure]) -> list[str]:
    return [reply.text if isinstance(reply, Reply) else reply.reason for reply in replies]


ALL = [f"answer to number {number}" for number in range(60)]


@contextmanager
def backends() -> Iterator[Callable[..., OpenAIBackend]]:
    """Gives `make(url, spent, setting=...)`; closes what it made."""
    made: list[OpenAIBackend] = []

    def build(url: str, spent: float = 0.0, **settings) -> OpenAIBackend:
        defaults = {"timeout": 10.0, "retries": 1, "max_wait": 0.01, "outage_limit": 30.0}
        made.append(OpenAIBackend(EndpointConfig(base_url=url, **(defaults | settings)), "judge", spent))
        return made[-1]

    try:
        yield build
    finally:
        for backend in made:
            backend.close()
