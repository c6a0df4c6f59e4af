"""Probabilities of labels worked out by hand, and bodies that no server should send."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from support.chat_bodies import chat, fuzzed, position

from rlsys.judging.backend import Failure, Reply, Request
from rlsys.judging.endpoint.openai_replies import Usage, depth, read

AB = ("A", "B")
SCORES = tuple(str(score) for score in range(1, 11))


def ask(body: object, labels: tuple[str, ...] = ()) -> Reply | Failure:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read(content, Request(({"role": "user", "content": "?"},), labels)).reply


def probabilities(*positions: dict[str, Any], labels: tuple[str, ...] = AB) -> dict[str, float]:
    reply = ask(chat("", positions), labels)
    assert isinstance(reply, Reply), reply
    return {name: math.exp(value) for name, value in reply.label_log_probs.items()}


def test_a_label_has_the_log_prob_of_its_token():
    reply = ask(chat("A", [position("A", {"A": 0.75, "B": 0.2, "C": 0.05})], "length"), AB)
    expected = {"A": math.log(0.75), "B": math.log(0.2)}
    assert reply == Reply("A", "length", expected, prompt_tokens=10, completion_tokens=2, version="fp_7")


def test_tokens_that_read_alike_are_summed():
    listed = {"A": 0.5, " A": 0.125, "B\n": 0.0625, "a": 0.1, "AB": 0.1}
    assert probabilities(position("A", listed)) == pytest.approx({"A": 0.625, "B": 0.0625}, rel=1e-12)
    twice = position("A", {"A": 0.5, "B": 0.125})
    twice["top_logprobs"].append({"token": "A", "logprob": math.log(0.25)})  # two ids, one text
    assert probabilities(twice) == pytest.approx({"A": 0.75, "B": 0.125}, rel=1e-12)


def test_the_generated_token_counts_once_listed_or_not():
    beside = position("A", {"A": 0.5, "B": 0.25})
    beside["top_logprobs"] = beside["top_logprobs"][1:]
    assert probabilities(beside) == pytest.approx({"A": 0.5, "B": 0.25})
    assert probabilities(position("A", {"A": 0.5, "B": 0.25})) == pytest.approx({"A": 0.5, "B": 0.25})


def test_what_is_not_listed_is_missing():
    assert probabilities(position("C", {"C": 0.9, "B": 0.1})) == pytest.approx({"B": 0.1})
    assert probabilities(position("C", {"C": 0.9})) == {}
    unlikely = position("A", {"A": 1.0})
    unlikely["top_logprobs"].append({"token": "B", "logprob": -9999.0})  # the API's word for "not told"
    assert probabilities(unlikely) == pytest.approx({"A": 1.0})


def test_how_many_tokens_tell_labels_apart():
    assert [depth(AB), depth(SCORES[:9]), depth(SCORES), depth(("1", "10", "100"))] == [1, 1, 2, 3]


def test_ten_as_one_token():
    """One and ten are two entries of one list: nothing to take away."""
    listed = {"7": 0.5, "10": 0.25, "1": 0.125}
    assert probabilities(position("7", listed), position("!", {"!": 1.0}), labels=SCORES) == pytest.approx(
        {"7": 0.5, "10": 0.25, "1": 0.125}
    )


def test_ten_as_two_tokens():
    """0.5 x 0.75 is ten; 0.5 x 0.25 is a one that ends or goes on otherwise."""
    first = position("1", {"1": 0.5, "7": 0.25, "8": 0.125})
    second = position("0", {"0": 0.75, "\n": 0.125, "5": 0.125})
    expected = {"1": 0.125, "10": 0.375, "7": 0.25, "8": 0.125}
    assert probabilities(first, second, labels=SCORES) == pytest.approx(expected)
    ended = position("<eos>", {"<eos>": 0.75, "0": 0.25})
    assert probabilities(first, ended, labels=SCORES) == pytest.approx(expected | {"1": 0.375, "10": 0.125})
    spaced = position(" 0", {" 0": 0.75, "0": 0.25})  # "1 0" is no ten
    assert probabilities(first, spaced, labels=SCORES) == pytest.approx(expected | {"1": 0.375, "10": 0.125})


def test_ten_both_ways():
    first = position("1", {"1": 0.5, "10": 0.25})
    second = position("0", {"0": 0.5, "<eos>": 0.5})
    assert probabilities(first, second, labels=SCORES) == pytest.approx({"1": 0.25, "10": 0.5})


def test_ten_that_is_not_listed_after_one_is_missing():
    first, second = position("1", {"1": 0.5, "2": 0.5}), position("<eos>", {"<eos>": 0.9})
    assert probabilities(first, second, labels=SCORES) == pytest.approx({"1": 0.5, "2": 0.5})


def test_a_one_that_might_be_a_ten_is_a_failure():
    """The reply said 7, so nothing tells how likely a 0 follows the 1."""
    seven, second = position("7", {"7": 0.5, "1": 0.01}), position("!", {"!": 1.0})
    reply = ask(chat("7", [seven, second]), SCORES)
    assert reply == Failure("'1' and '10' can't be told apart by this model's tokens; set judge.max_score to 9")
    assert probabilities(seven, second, labels=SCORES[:9]) == pytest.approx({"7": 0.5, "1": 0.01})
    seven = position("7", {"7": 0.5, "1": 0.009})
    assert probabilities(seven, second, labels=SCORES) == pytest.approx({"7": 0.5, "1": 0.009})


def test_a_one_whose_successor_is_not_shown_is_a_failure():
    assert isinstance(ask(chat("1", [position("1", {"1": 0.9})]), SCORES), Failure)
    two_ways = position("1", {"1": 0.5, " 1": 0.25})  # the successor of one of them shows
    assert isinstance(ask(chat("10", [two_ways, position("0", {"0": 0.5})]), SCORES), Failure)


def test_a_hundred():
    first, second, third = (
        position("1", {"1": 0.5}),
        position("0", {"0": 0.5, "<eos>": 0.5}),
        position("0", {"0": 0.25, "<eos>": 0.75}),
    )
    assert probabilities(first, second, third, labels=("1", "10", "100")) == pytest.approx(
        {"1": 0.25, "10": 0.1875, "100": 0.0625}
    )


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "bad reply: the body: Invalid JSON"),
        (b'{"choices": [', "bad reply: the body: Invalid JSON"),
        (b"[1]", "bad reply: the body: Input should be an object"),
        ({"error": {"message": "no"}}, "bad reply: choices: Field required"),
        (chat(choices=[]), "bad reply: no choices"),
        (chat(choices=[{"index": 0}]), "bad reply: choices.0.message: Field required"),
        (
            chat(usage={"prompt_tokens": "10", "completion_tokens": 1}),
            "bad reply: usage.prompt_tokens: Input should be a valid integer",
        ),
        (chat(usage={"prompt_tokens": -1, "completion_tokens": 1}), "bad reply: usage.prompt_tokens: "),
        (chat(finish_reason="content_filter"), "the endpoint's content filter stopped the reply"),
        (chat("A"), "the reply has no log-probs"),
        (chat("A", []), "the reply has no log-probs"),
        (
            chat("A", [position("A", {"A": 0.9, "B": 0.2})]),
            "bad reply: the probabilities of its tokens add up to more than 1",
        ),
        (
            chat("A", [{"token": "A", "logprob": 0.5, "top_logprobs": []}]),
            "bad reply: choices.0.logprobs.content.0.logprob: ",
        ),
        (
            chat("A", [{"token": "A", "logprob": "-1", "top_logprobs": []}]),
            "bad reply: choices.0.logprobs.content.0.logprob: ",
        ),
        (
            chat("A", [{"token": 5, "logprob": -1, "top_logprobs": []}]),
            "bad reply: choices.0.logprobs.content.0.token: ",
        ),
        (
            chat("A", [{"token": "A", "logprob": -1}]),
            "bad reply: choices.0.logprobs.content.0.top_logprobs: Field required",
        ),
    ],
)
def test_what_can_not_be_read_is_a_failure(body: object, reason: str):
    result = ask(body, AB)
    assert isinstance(result, Failure)
    assert result.reason.startswith(reason)


def test_refusals_and_missing_texts_are_failures():
    refused = chat(None)
    refused["choices"][0]["message"]["refusal"] = "I can't judge that."
    assert ask(refused) == Failure("the model refused: I can't judge that.")
    assert ask(chat(None)) == Failure("bad reply: no text")
    assert ask(chat("", finish_reason="length")) == Reply("", "length", {}, 10, 2, version="fp_7")


def test_usage_is_told_apart_from_none():
    request = Request(({"role": "user", "content": "?"},))
    assert read(json.dumps(chat()).encode(), request).usage == Usage(prompt_tokens=10, completion_tokens=2)
    assert read(json.dumps(chat(usage=None)).encode(), request).usage is None


def listed(body: Any, name: str) -> list[float]:
    """Every log-prob that the first position of `body` gives for a token that reads `name`."""
    first = body["choices"][0]["logprobs"]["content"][0]
    return [token["logprob"] for token in [*first["top_logprobs"], first] if token["token"].strip() == name]


def test_a_thousand_fuzzed_bodies_crash_nothing_and_invent_nothing():
    valid = 0
    for content in fuzzed(1000, seed=5):
        for labels in (AB, (), SCORES):
            reply = ask(content, labels)
            if isinstance(reply, Failure):
                assert reply.reason
                continue
            body = json.loads(content)
            assert reply.text == (body["choices"][0]["message"].get("content") or "")
            for name, log_prob in reply.label_log_probs.items():
                given = listed(body, name)
                if labels == AB:
                    assert given, (name, body)
                    assert max(given) - 1e-12 <= log_prob <= math.log(sum(map(math.exp, given))) + 1e-12
                elif given:
                    assert log_prob <= math.log(sum(map(math.exp, given)) + 1) + 1e-12
                assert math.isfinite(log_prob)
                assert log_prob <= 0.01
            valid += bool(reply.label_log_probs)
    assert valid > 200  # the mutations leave enough to read
