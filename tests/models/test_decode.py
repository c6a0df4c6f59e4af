"""Sampled tokens as text."""

from __future__ import annotations

import pytest

from rlsys.models.decode import Decoder
from rlsys.playground.models import byte_tokenizer

EOS, SYSTEM = 258, 259
TOKENIZER = byte_tokenizer()
TOKENIZER.add_tokens(["<end>"])  # id 262, not special


@pytest.mark.parametrize(
    ("token_ids", "text", "unknown"),
    [
        ([*b"hi", EOS], "hi", 0),
        ([*b"a", SYSTEM, *b"b"], "ab", 0),
        ([*b"hi", 262], "hi", 0),
        ([262, *b"hi"], "<end>hi", 0),
        ([*b"a", 263, 9999, *b"b", EOS], "a<|unknown:263|><|unknown:9999|>b", 2),
        ([263], "<|unknown:263|>", 1),
        ([*"é".encode(), 263, *"é".encode()], "é<|unknown:263|>é", 1),
        ([], "", 0),
    ],
    ids=[
        "EOS",
        "special inside",
        "stop token not special",
        "and not at the end",
        "unknown",
        "nothing else",
        "bytes",
        "empty",
    ],
)
def test_text_and_unknown_tokens(token_ids: list[int], text: str, unknown: int) -> None:
    decoder = Decoder(TOKENIZER, {EOS, 262})
    assert (decoder.text(token_ids), decoder.unknown(token_ids)) == (text, unknown)
