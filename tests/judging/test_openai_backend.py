"""Against a real server on this machine that does what a test tells it to."""

from __future__ import annotations

import json
import math
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from chat_bodies import chat, fuzzed, label, position
from fault_server import LIMIT, Act, Server, drips, hangs, resets, says, serving

from rlsys.config.judge import EndpointConfig
from rlsys.errors import ConfigError, JudgeOutage, RlsysError
from rlsys.judging import openai_backend, openai_replies
from rlsys.judging.backend import Failure, Reply, Request
from rlsys.judging.openai_backend import OpenAIBackend

TEXT = Request(({"role": "system", "content": "Judge."}, {"role": "user", "content": "Say ✓"}), max_tokens=7, temperature=0.5, seed=3)
LABELS = Request(({"role": "user", "content": "A or B?"},), ("A", "B"))
GOOD = says(chat())
PATIENT = 10.0


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def make(server: Server) -> Iterator[Callable[..., OpenAIBackend]]:
    made: list[OpenAIBackend] = []

    def build(**settings) -> OpenAIBackend:
        defaults = {"base_url": f"{server.url}/v1", "timeout": PATIENT, "retries": 0, "max_wait": 0.01, "outage_limit": 0.05}
        made.append(OpenAIBackend(EndpointConfig(**(defaults | settings)), "judge"))
        return made[-1]

    yield build
    for backend in made:
        backend.close()


@pytest.fixture
def ask(server: Server, make: Callable[..., OpenAIBackend]) -> Callable[..., Reply | Failure]:
    """`ask(act, act, ..., setting=...)`: what becomes of one request to a server that plays these acts; `request` may be given too."""

    def run(*acts: Act, request: Request = TEXT, **settings) -> Reply | Failure:
        server.acts, server.seen = list(acts), []
        [result] = make(**settings).ask([request])
        return result

    return run


def bodies(server: Server) -> list[dict]:
    """Of the requests, without the probes."""
    return [body for _, _, body in server.seen if body["messages"] != [dict(message) for message in openai_backend.PROBE.messages]]


def test_a_text(ask, server: Server):
    reply = ask(GOOD, price_per_million_prompt_tokens=2, price_per_million_completion_tokens=5)
    assert isinstance(reply, Reply)
    assert 0 < reply.seconds < PATIENT
    expected = Reply("fine", "stop", {}, prompt_tokens=10, completion_tokens=2, seconds=reply.seconds, cost=3e-5, version="fp_7")
    assert reply == expected
    [(path, headers, body)] = server.seen
    assert path == "/v1/chat/completions"
    assert body == {"model": "judge", "messages": list(TEXT.messages), "max_tokens": 7, "temperature": 0.5, "seed": 3}
    assert headers["Accept-Encoding"] == "identity"
    assert "Authorization" not in headers


def test_labels(ask, server: Server):
    reply = ask(says(label(A=0.75, B=0.25)), request=LABELS)
    assert isinstance(reply, Reply)
    assert reply.label_log_probs == {"A": math.log(0.75), "B": math.log(0.25)}
    assert bodies(server) == [
        {"model": "judge", "messages": list(LABELS.messages), "max_tokens": 1, "temperature": 0, "logprobs": True, "top_logprobs": 20}
    ]
    ask(says(chat("2", [position("2", {"2": 0.9})])), request=Request(LABELS.messages, ("1", "2", "10")))
    assert bodies(server)[0]["max_tokens"] == 2


def test_a_schema(ask, server: Server):
    schema = {"type": "object", "properties": {"clear": {"type": "integer"}}}
    ask(says(chat("{}")), request=Request(TEXT.messages, schema=schema))
    asked = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}
    assert bodies(server)[0]["response_format"] == asked


def test_the_reply_that_was_cut_off_says_so(ask):
    assert ask(says(chat("half", finish_reason="length"))).finish_reason == "length"


PASSING = [says({}, status) for status in (408, 409, 429, 500, 503)] + [resets]


@pytest.mark.parametrize("fault", PASSING, ids=["408", "409", "429", "500", "503", "reset"])
def test_a_passing_fault_is_tried_again(ask, server: Server, fault: Act):
    assert ask(fault, fault, GOOD, retries=2).text == "fine"
    assert len(server.seen) == 3


@pytest.fixture
def poison(server: Server) -> Callable[[Act], Act]:
    """`poison(act)`: plays `act` for every request but the probe, which is answered well."""

    def choose(act: Act) -> Act:
        return lambda handler: (GOOD if handler.body["messages"][0]["content"] == "Hi" else act)(handler)

    return choose


def test_a_request_that_fails_while_others_are_served_is_to_blame(ask, poison, server: Server):
    assert ask(poison(says({}, 500)), retries=2) == Failure("HTTP 500 (attempt 3)")
    assert (len(bodies(server)), len(server.seen)) == (3, 4)
    assert ask(poison(hangs), timeout=1.0) == Failure("no whole reply within 1 s (attempt 1)")
    result = ask(poison(resets), retries=1)
    assert isinstance(result, Failure)
    assert result.reason.startswith(("ReadError", "RemoteProtocolError"))


def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, in seconds; each lasts no time here."""
    asked: list[float] = []

    async def pause(seconds: float) -> None:
        asked.append(seconds)

    monkeypatch.setattr(openai_backend.asyncio, "sleep", pause)
    return asked


def test_retry_after_is_obeyed_up_to_the_cap(ask, monkeypatch: pytest.MonkeyPatch):
    asked = pauses(monkeypatch)
    past, future = (format_datetime(datetime.now(UTC) + timedelta(seconds=s), usegmt=True) for s in (-60, 30))
    busy = [says({}, 429, Retry_After=value) for value in ("0", "1", "86400", past, future)]
    assert ask(*busy, GOOD, retries=5, max_wait=40).text == "fine"
    assert asked[:4] == [0, 1, 40, 0]
    assert 25 < asked[4] <= 30


def test_the_pause_doubles_up_to_the_cap(ask, monkeypatch: pytest.MonkeyPatch):
    asked = pauses(monkeypatch)
    ask(*[says({}, 500)] * 5, GOOD, retries=5, max_wait=3)
    for pause, longest in zip(asked, [0.5, 1, 2, 3, 3], strict=True):
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


HEAD = b"HTTP/1.1 200 OK\r\n"
SLOW = [hangs, drips(HEAD + b"Content-Length: 1000\r\n\r\n", b" "), drips(HEAD + b"X-Long: ", b"x")]


@pytest.mark.parametrize("slow", SLOW, ids=["hangs", "body drips", "headers drip"])
def test_the_timeout_is_for_the_whole_attempt(ask, server: Server, slow: Act):
    start = time.monotonic()
    assert ask(slow, slow, GOOD, retries=2, timeout=5 * LIMIT).text == "fine"
    assert 2 * 5 * LIMIT <= time.monotonic() - start < 8
    assert len(server.seen) == 3


def test_the_reply_is_read_up_to_the_cap(ask, server: Server):
    body = json.dumps(chat()).encode()
    assert ask(says(body), max_bytes=len(body)).text == "fine"
    too_large = Failure(f"the reply is larger than judge.endpoint.max_bytes ({len(body)})")
    assert ask(says(body + b" "), max_bytes=len(body), retries=3) == too_large
    assert len(server.seen) == 1
    endless = drips(HEAD + b"Connection: close\r\n\r\n" + b" " * 100_000, b" ")
    assert ask(endless, max_bytes=50_000) == Failure("the reply is larger than judge.endpoint.max_bytes (50000)")
    assert ask(says(b"x" * 100_000, 500), GOOD, max_bytes=5000, retries=1).text == "fine"  # an error's page is cut, not judged


def test_a_compressed_reply_is_refused_unread(ask):
    bomb = zlib.compress(b" " * 10_000_000)
    assert ask(says(bomb, Content_Encoding="deflate")) == Failure("the reply is encoded (deflate)")
    assert ask(says(bomb, 503, Content_Encoding="deflate"), GOOD, retries=1).text == "fine"


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (says(b"<html>"), "bad reply: the body: Invalid JSON"),
        (says(chat(choices=5)), "bad reply: choices: Input should be a valid"),
        (says(chat("A")), "the reply has no log-probs; the endpoint or the model does not give them"),
        (says(chat(None, finish_reason="content_filter")), "the endpoint's content filter stopped the reply"),
    ],
)
def test_what_can_not_be_read_is_not_asked_again(ask, server: Server, act: Act, reason: str):
    result = ask(act, request=LABELS, retries=3)
    assert isinstance(result, Failure)
    assert result.reason.startswith(reason)
    assert len(server.seen) == 1


def test_a_thousand_fuzzed_replies_are_replies_or_failures_and_no_outage(make, server: Server):
    """Each request has the reading of its own body: `test_openai_replies` shows that nothing in that is invented."""
    contents = list(fuzzed(1000, seed=6))
    server.acts = [lambda handler: says(contents[int(handler.body["messages"][0]["content"])])(handler)]
    requests = [Request(({"role": "user", "content": str(number)},), ("A", "B")) for number in range(1000)]
    for request, content, result in zip(requests, contents, make(concurrency=16).ask(requests), strict=True):
        expected = openai_replies.read(content, request).reply
        if isinstance(result, Reply):
            assert replace(result, seconds=0.0) == expected
        else:
            assert isinstance(expected, Failure)
            assert result.reason[:100] == " ".join(expected.reason.split())[:100]


def test_half_a_surrogate_pair_is_a_failure(ask):
    result = ask(GOOD, request=Request(({"role": "user", "content": "\ud800"},)))
    assert result == Failure("the request holds half a surrogate pair, which UTF-8 can't carry")


def test_the_key_is_sent_and_never_shown(ask, make, poison, server: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JUDGE_KEY", "s3cret")
    monkeypatch.setenv("OPENAI_API_KEY", "another")
    refusal = chat(None)
    refusal["choices"][0]["message"]["refusal"] = "s3cret?"
    leaks = [
        says({"error": "bad key s3cret"}, 400),
        says(refusal),
        says(chat(), Content_Encoding="s3cret"),
        says(b'{"s3cret'),
        drips(b"s3cret s3cret\r\n\r\n", b"s3cret\r\n"),
        poison(says({"error": "s3cret"}, 500, WWW_Authenticate="s3cret")),
    ]
    for leak in leaks:
        result = ask(leak, GOOD, key_env="JUDGE_KEY") if leak is leaks[4] else ask(leak, key_env="JUDGE_KEY")
        assert isinstance(result, Failure)
        assert "s3cret" not in repr(result)
        assert server.seen[0][1]["Authorization"] == "Bearer s3cret"
    backend = make(key_env="JUDGE_KEY")
    assert "s3cret" not in repr(backend) + repr(backend._client) + repr(backend._client.api_key) + backend.identity
    for status, error in ((500, JudgeOutage), (401, ConfigError)):
        server.acts = [says({"error": "bad key s3cret"}, status, Retry_After="s3cret")]
        with pytest.raises(error) as caught:
            backend.ask([TEXT])
        assert "s3cret" not in str(caught.value)


def test_nothing_of_the_environment_is_sent(ask, server: Server, monkeypatch: pytest.MonkeyPatch):
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "mine")
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "OPENAI_BASE_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert ask(GOOD).text == "fine"
    assert "mine" not in str(server.seen[0][1])


@pytest.mark.parametrize(("value", "message"), [(None, "is not set"), ("s3cret\n", "has spaces, line ends")])
def test_a_key_that_can_not_be_sent(make, monkeypatch: pytest.MonkeyPatch, value: str | None, message: str):
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("JUDGE_KEY", value)
    with pytest.raises(ConfigError, match=f"judge.endpoint.key_env: .*JUDGE_KEY {message}"):
        make(key_env="JUDGE_KEY")


def test_the_identity_names_endpoint_and_model(make, server: Server):
    assert make().identity == f"{server.url}/v1 judge"


def test_a_closed_backend_says_so(make):
    backend = make()
    backend.close()
    with pytest.raises(RlsysError, match="connection was closed"):
        backend.ask([TEXT])


def test_nobody_listens(make):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        backend = make(base_url=f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
        with pytest.raises(RlsysError, match=r"has been away since .*ConnectError"):
            backend.ask([TEXT])
