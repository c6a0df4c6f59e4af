"""Long documents are tokenised in pieces: a tokenizer takes 200 times the size of a text in memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # importing transformers takes seconds, and a configuration check needs none of it
    from transformers import PreTrainedTokenizerBase

LINE = re.compile(r"\n(?=\S)")
"""The end of the line before one with text."""
PIECE = 1_000_000
"""Characters of a long document that are tokenised at a time."""
AROUND = 100
"""Characters on either side of a cut that must be the same tokens with it as without."""


def pieces(text: str, tokenizer: PreTrainedTokenizerBase) -> Iterator[str]:
    """The text in pieces of about `PIECE` characters, whose tokens are those of the whole: each is cut after or before
    the end of a line, where that changes no token."""
    start = 0
    while len(text) - start > 2 * PIECE:
        places = (place for line in LINE.finditer(text, start + PIECE) for place in (line.end(), line.start()))
        cut = next((place for place in places if _parts(text, place, tokenizer)), None)
        if cut is None:
            break
        yield text[start:cut]
        start = cut
    yield text[start:]


def _parts(text: str, cut: int, tokenizer: PreTrainedTokenizerBase) -> bool:
    def tokens(start: int, end: int) -> list[int]:
        return list(tokenizer(text[start:end], add_special_tokens=False)["input_ids"])  # type: ignore[arg-type]

    low, high = max(0, cut - AROUND), cut + AROUND
    return tokens(low, high) == tokens(low, cut) + tokens(cut, high)
