"""Long documents are tokenised in pieces: a tokenizer takes 200 times the size of a text in memory."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # importing transformers takes seconds, and a configuration check needs none of it
    from transformers import PreTrainedTokenizerBase

PLACES = (re.compile(r"\n(?=\S)"), re.compile(r"\s+"), re.compile(r"(?s)."))
"""Before or after which a document is cut, best first: the end of a line before one with text, white space, anything.
"""
TRIALS = 20
"""Of each of these, how many are tried."""
PIECE = 100_000
"""Characters of a long document that are tokenised at a time."""
AROUND = 100
"""Characters on either side of a cut that must be the same tokens with it as without."""


def tokens_of(text: str, tokenizer: PreTrainedTokenizerBase) -> tuple[array[int], int]:
    """The text's token ids, and how many cuts may have changed some, as no place was found that parts two tokens.

    A piece is tokenised behind the end of the one before, whose tokens are dropped: many tokenizers put a space before
    every text. After a cut within a token it is tokenised by itself.
    """
    ids, rough, start, low = array("i"), 0, 0, 0
    while start < len(text):
        cut, end = None, len(text)
        if end - start > 2 * PIECE:
            cut = next((place for place in _places(text, start + PIECE) if _parts(text, place, tokenizer)), None)
            end = start + PIECE if cut is None else cut
            rough += cut is None
        before, found = _ids(text[low:start], tokenizer), _ids(text[low:end], tokenizer)
        if found[: len(before)] != before:
            before, found, rough = [], _ids(text[start:end], tokenizer), rough + 1
        ids.extend(found[len(before) :])
        start, low = end, end if cut is None else end - AROUND
    return ids, rough


def _places(text: str, start: int) -> Iterator[int]:
    for pattern in PLACES:
        for match in islice(pattern.finditer(text, start, start + PIECE), TRIALS):
            yield from (match.end(), match.start())


def _parts(text: str, cut: int, tokenizer: PreTrainedTokenizerBase) -> bool:
    low, high = max(0, cut - AROUND), cut + AROUND
    before = _ids(text[low:cut], tokenizer)
    return _ids(text[low:high], tokenizer)[: len(before)] == before


def _ids(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []  # type: ignore[arg-type]
