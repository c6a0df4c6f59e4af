"""What a judge needs of a language model, whoever runs it: chats in, texts and the log-probs of some labels out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

Message = Mapping[str, str]
"""{"role", "content"}"""


@dataclass(frozen=True, slots=True)
class Request:
    """One chat. With `labels`, the next tokens' log-probs of these texts are wanted and nothing is generated beyond
    them; else a text is."""

    messages: tuple[Message, ...]
    labels: tuple[str, ...] = ()
    max_tokens: int = 1
    temperature: float = 0.0
    """Of the text; log-probs of labels are always those at temperature 1."""
    seed: int = 0
    schema: Mapping[str, Any] | None = None
    """JSON schema that the text must satisfy."""
    fresh: bool = False
    """Ask the model itself, whatever a cache knows."""


@dataclass(frozen=True, slots=True)
class Reply:
    text: str
    finish_reason: str
    """`stop`, `length`, or the endpoint's own word (`content_filter`)."""
    label_log_probs: Mapping[str, float] = field(default_factory=dict)
    """Natural log of the probability that the reply says exactly this label: where one label begins another ("1" and
    "10"), its probability leaves out that of the longer one. A label that the model's answer says nothing about is
    missing."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    cost: float = 0.0
    cached: bool = False
    version: str = ""
    """What the endpoint calls the model that replied, beyond its name."""


@dataclass(frozen=True, slots=True)
class Failure:
    """This one request has no reply, and asking again would not help: refused, malformed, timed out while others were
    served."""

    reason: str


def judge_identity(model: str, template_variables: Mapping[str, bool | int | str]) -> str:
    """For `Backend.identity`: the model, and what its chat template was given besides the chat."""
    return f"{model} {json.dumps(dict(template_variables), sort_keys=True)}" if template_variables else model


class Backend(Protocol):
    @property
    def identity(self) -> str:
        """The model and its version, such that equal identities give equal replies: part of every cache key."""
        ...

    def ask(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        """In order. Waits while the model is away, up to its limit; then raises JudgeOutage. Nothing is answered
        meanwhile."""
        ...
