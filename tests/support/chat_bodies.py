"""Chat completions as an OpenAI-compatible server sends them."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def position(token: str, probabilities: Mapping[str, float]) -> dict[str, Any]:
    """One generated token, and the probabilities of those listed in its place."""
    listed = [
        {"token": name, "logprob": math.log(value), "bytes": list(name.encode())}
        for name, value in probabilities.items()
    ]
    return {
        "token": token,
        "logprob": math.log(probabilities[token]),
        "bytes": list(token.encode()),
        "top_logprobs": listed,
    }


def chat(
    content: str | None = "fine",
    positions: Sequence[dict[str, Any]] | None = None,
    finish_reason: str = "stop",
    **more: Any,
) -> dict[str, Any]:
    """10 prompt tokens and 2 completion tokens. `more` is added to the body."""
    message = {"role": "assistant", "content": content, "refusal": None}
    logprobs = None if positions is None else {"content": list(positions), "refusal": None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "judge",
        "choices": [{"index": 0, "message": message, "logprobs": logprobs, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12},
        "system_fingerprint": "fp_7",
    } | more


def label(**probabilities: float) -> dict[str, Any]:
    """A reply of one token, the likeliest of these."""
    likeliest = max(probabilities, key=lambda name: probabilities[name])
    return chat(likeliest, [position(likeliest, probabilities)], "length")


def mutated(draw: random.Random, value: Any) -> Any:
    """`value` with something in it changed, dropped, doubled or replaced."""
    match value:
        case dict() if value and draw.random() < 0.9:
            key = draw.choice(sorted(value))
            if draw.random() < 0.15:
                return {name: inner for name, inner in value.items() if name != key}
            return value | {key: mutated(draw, value[key])}
        case list() if value and draw.random() < 0.9:
            index = draw.randrange(len(value))
            replaced = [[], [value[index]] * 2, [mutated(draw, value[index])]][draw.choice([0, 1, 2, 2, 2, 2])]
            return [*value[:index], *replaced, *value[index + 1 :]]
    odd = [
        None,
        True,
        0,
        -1,
        7,
        -0.5,
        1e308,
        -1e308,
        1e-320,
        "",
        "A",
        " B ",
        "10",
        "1",
        "0",
        "\ud800",
        "x" * 500,
        [],
        {},
        [[]],
        {"a": 1},
        2**70,
    ]
    return draw.choice([*odd, -draw.expovariate(1)])


def fuzzed(count: int, seed: int) -> Iterator[bytes]:
    """Bodies of a reply that says A, each with up to four mutations; every tenth also with a byte changed and up to
    three gone."""
    draw = random.Random(seed)
    start = chat(
        "A",
        [
            position("A", {"A": 0.5, " B": 0.25, "B": 0.125, "1": 0.0625, "10": 0.03}),
            position("0", {"0": 0.5, "x": 0.5}),
        ],
    )
    for number in range(count):
        body: Any = start
        for _ in range(draw.randint(1, 4)):
            body = mutated(draw, body)
        content = json.dumps(body).encode()
        if number % 10 == 0:
            cut = draw.randrange(len(content))
            content = content[:cut] + bytes([draw.randrange(256)]) + content[cut + draw.randint(0, 3) :]
        yield content
