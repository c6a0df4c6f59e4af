"""What an endpoint is asked and what is read of its replies, against a real server on this machine that does what a
test tells it to."""

from __future__ import annotations

import json
import math
import zlib
from dataclasses import replace

import pytest
from support.chat_bodies import chat, fuzzed, label, position
from support.echo_endpoint import GOOD, LABELS, TEXT, bodies
from support.fault_server import HEAD, Act, Server, drips, says

from rlsys.errors import RlsysError
from rlsys.judging.backend import Failure, Reply, Request
from rlsys.judging.endpoint import openai_replies


def test_a_text(ask, server: Server):
    reply = ask(GOOD, price_per_million_prompt_tokens=2, price_per_million_completion_tokens=5)
    assert isinstance(reply, Reply)
    assert 0 < reply.seconds < 10
    expected = Reply(
        "fine", "stop", {}, prompt_tokens=10, completion_tokens=2, seconds=reply.seconds, cost=3e-5, version="fp_7"
    )
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
        {
            "model": "judge",
            "messages": list(LABELS.messages),
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": True,
            "top_logprobs": 20,
        }
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


def test_the_reply_is_read_up_to_the_cap(ask, server: Server):
    body = json.dumps(chat()).encode()
    assert ask(says(body), max_bytes=len(body)).text == "fine"
    too_large = Failure(f"the reply is larger than judge.endpoint.max_bytes ({len(body)})")
    assert ask(says(body + b" "), max_bytes=len(body), retries=3) == too_large
    assert len(server.seen) == 1
    endless = drips(HEAD + b"Connection: close\r\n\r\n" + b" " * 100_000, b" ")
    assert ask(endless, max_bytes=50_000) == Failure("the reply is larger than judge.endpoint.max_bytes (50000)")
    assert (
        ask(says(b"x" * 100_000, 500), GOOD, max_bytes=5000, retries=1).text == "fine"
    )  # an error's page is cut, not judged


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


def test_a_thousand_fuzzed_replies_are_replies_or_failures_and_no_outage(connect, server: Server):
    """Each request has the reading of its own body: `test_openai_replies` shows that nothing in that is invented."""
    contents = list(fuzzed(1000, seed=6))
    server.acts = [lambda handler: says(contents[int(handler.body["messages"][0]["content"])])(handler)]
    requests = [Request(({"role": "user", "content": str(number)},), ("A", "B")) for number in range(1000)]
    for request, content, result in zip(requests, contents, connect(concurrency=16).ask(requests), strict=True):
        expected = openai_replies.read(content, request).reply
        if isinstance(result, Reply):
            assert replace(result, seconds=0.0) == expected
        else:
            assert isinstance(expected, Failure)
            assert result.reason[:100] == " ".join(expected.reason.split())[:100]


def test_half_a_surrogate_pair_is_a_failure(ask):
    result = ask(GOOD, request=Request(({"role": "user", "content": "\ud800"},)))
    assert result == Failure("the request holds half a surrogate pair, which UTF-8 can't carry")


def test_the_identity_names_endpoint_and_model(connect, server: Server):
    assert connect().identity == f"{server.url}/v1 judge"


def test_a_closed_backend_says_so(connect):
    backend = connect()
    backend.close()
    with pytest.raises(RlsysError, match="connection was closed"):
        backend.ask([TEXT])
