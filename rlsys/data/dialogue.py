"""Dialogues in one text, as HH-RLHF (arXiv 2204.05862) has them: "\\n\\nHuman: ...\\n\\nAssistant: ..."."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rlsys.data.messages import Message
from rlsys.data.raw import BadRow

SPEAKERS = {"Human": "user", "Assistant": "assistant"}
TURN = re.compile(rf"\n\n({'|'.join(SPEAKERS)}):")


def led(text: str) -> str:
    """With the line breaks before the first turn that some data sets leave out."""
    return f"\n\n{text.lstrip()}" if text.lstrip().startswith("Human:") else text


def begins(text: str) -> bool:
    """Whether it begins with a turn."""
    return TURN.match(led(text)) is not None


def parse(text: str) -> list[Message]:
    """Its turns, without white space around them. Raises BadRow for anything before the first turn, and for an empty
    turn."""
    text = led(text)
    starts = list(TURN.finditer(text))
    if not starts or text[: starts[0].start()].strip():
        raise BadRow(r"text that is no dialogue: it must begin with '\n\nHuman:' (or be a list of messages)")
    ends = [start.start() for start in starts[1:]] + [len(text)]
    messages = [
        {"role": SPEAKERS[start[1]], "content": text[start.end() : end].strip()}
        for start, end in zip(starts, ends, strict=True)
    ]
    for number, message in enumerate(messages, start=1):
        if not message["content"]:
            raise BadRow(f"turn {number} of {len(messages)} of the dialogue ({message['role']}) is empty")
    return messages


def prompt_text(messages: Sequence[Message]) -> str:
    """The dialogue as plain text up to where the assistant goes on: the answer follows after a space."""
    names = {role: speaker for speaker, role in SPEAKERS.items()}
    return "".join(f"\n\n{names[message['role']]}: {message['content']}" for message in messages) + "\n\nAssistant:"
