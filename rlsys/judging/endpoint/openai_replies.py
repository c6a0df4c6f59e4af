"""The chat completions of OpenAI's API, read strictly: what is malformed is a Failure, and no probability of a label is
invented."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeInt, ValidationError

from rlsys.judging.backend import Failure, Reply, Request

NO_LOG_PROB = -9999.0
"""What the API gives for a token that it says nothing about."""
TOLERANCE = 0.01
"""Probabilities may add up to one and this."""
TELLING = 0.01
"""A label that may go on to a longer one is left as it is below this probability."""


class Part(BaseModel):
    model_config = ConfigDict(strict=True)


class Token(Part):
    token: str
    logprob: Annotated[FiniteFloat, Field(le=TOLERANCE)]


class Position(Token):
    """A generated token, and the likeliest ones in its place."""

    top_logprobs: list[Token]

    def tokens(self) -> list[Token]:
        """Each once that has a log-prob: the generated one may be in the list or not. Two of the list may be written
        alike and are two."""
        listed = [*self.top_logprobs]
        if not any(token.token == self.token for token in listed):
            listed.append(Token(token=self.token, logprob=self.logprob))
        return [token for token in listed if token.logprob > NO_LOG_PROB]


class LogProbs(Part):
    content: list[Position] | None = None


class Message(Part):
    content: str | None = None
    refusal: str | None = None


class Choice(Part):
    message: Message
    finish_reason: str
    logprobs: LogProbs | None = None


class Usage(Part):
    prompt_tokens: NonNegativeInt
    completion_tokens: NonNegativeInt


class Completion(Part):
    choices: list[Choice]
    usage: Usage | None = None
    system_fingerprint: str | None = None


@dataclass(frozen=True)
class Reading:
    reply: Reply | Failure
    """Without its seconds and cost."""
    usage: Usage | None
    """None where the body does not tell."""


def read(body: bytes, request: Request) -> Reading:
    """Of a body that came with a 2xx."""
    try:
        completion = Completion.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the body"
        return Reading(Failure(f"bad reply: {place}: {first['msg']}"), None)
    return Reading(_reply(completion, request), completion.usage)


def _reply(completion: Completion, request: Request) -> Reply | Failure:
    if not completion.choices:
        return Failure("bad reply: no choices")
    choice = completion.choices[0]
    if choice.message.refusal:
        return Failure(f"the model refused: {choice.message.refusal}")
    if choice.finish_reason == "content_filter":
        return Failure("the endpoint's content filter stopped the reply")
    if not request.labels and choice.message.content is None:
        return Failure("bad reply: no text")
    label_log_probs: dict[str, float] = {}
    if request.labels:
        if choice.logprobs is None or not choice.logprobs.content:
            return Failure("the reply has no log-probs; the endpoint or the model does not give them")
        read_labels = labels_of(choice.logprobs.content, request.labels)
        if isinstance(read_labels, Failure):
            return read_labels
        label_log_probs = read_labels
    usage = completion.usage or Usage(prompt_tokens=0, completion_tokens=0)
    return Reply(
        choice.message.content or "",
        choice.finish_reason,
        label_log_probs,
        usage.prompt_tokens,
        usage.completion_tokens,
        version=completion.system_fingerprint or "",
    )


def depth(labels: Sequence[str]) -> int:
    """Tokens that it takes to tell `labels` apart: 1, or more where one label begins another."""
    return 1 + max(sum(label != other and label.startswith(other) for other in labels) for label in labels)


def labels_of(positions: Sequence[Position], labels: Sequence[str]) -> dict[str, float] | Failure:
    """Natural log-prob that the text is exactly this label, space around it aside.

    Tokens that read alike count together. A label that begins another one ("1" and "10") loses the probability of that
    one, which is a token of its own, or shows among the next tokens if the beginning was generated. Where it was not
    and is too likely to be ignored, nothing can be told: a Failure. What is not listed is missing.
    """
    gains: dict[str, list[float]] = {}
    losses: dict[str, list[float]] = {}
    said, so_far = "", 0.0
    for index, position in enumerate(positions[: depth(labels)]):
        tokens = position.tokens()
        if sum(math.exp(token.logprob) for token in tokens) > 1 + TOLERANCE:
            return Failure("bad reply: the probabilities of its tokens add up to more than 1")
        goes_on = index + 1 < min(len(positions), depth(labels))
        told = {text for token in tokens if (text := (said + token.token).strip()) in labels and text != said.strip()}
        for token in tokens:
            text, log_prob = (said + token.token).strip(), so_far + token.logprob
            if text not in told:
                continue
            gains.setdefault(text, []).append(log_prob)
            losses.setdefault(said.strip(), []).append(log_prob)
            longer = _longer(text, labels)
            is_generated = token.token == position.token and abs(token.logprob - position.logprob) < TOLERANCE
            if longer and told.isdisjoint(longer) and not (is_generated and goes_on) and math.exp(log_prob) >= TELLING:
                return Failure(
                    f"{text!r} and {longer[0]!r} can't be told apart by this model's tokens; set judge.max_score to 9"
                )
        said, so_far = said + position.token, so_far + position.logprob
        if not _longer(said.strip(), labels):
            break
    found = {label: _log_difference(gains[label], losses.get(label, [])) for label in labels if label in gains}
    return {label: min(0.0, log_prob) for label, log_prob in found.items() if log_prob is not None}


def _longer(text: str, labels: Sequence[str]) -> list[str]:
    """Labels that a label begins; none where `text` is no label."""
    return [label for label in labels if label != text and label.startswith(text)] if text in labels else []


def _log_difference(gains: Sequence[float], losses: Sequence[float]) -> float | None:
    """Log of the sum of probabilities less that of others; None where nothing is left."""
    if len(gains) == 1 and not losses:
        return gains[0]
    largest = max(gains)
    left = sum(math.exp(gain - largest) for gain in gains) - sum(math.exp(loss - largest) for loss in losses)
    return largest + math.log(left) if left > 0 else None
