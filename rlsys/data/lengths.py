"""Texts that are far too long are told by their beginning: tokenising a line of 50 MB takes minutes and 200 times its
size in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # importing transformers takes seconds, and a configuration check needs none of it
    from transformers import PreTrainedTokenizerBase

SHORT = 10_000
"""Characters that are never too many to tokenise."""


class TooLong(Exception):
    """A row of more tokens than are allowed."""


def check_length(tokenizer: PreTrainedTokenizerBase, text: str, most: int | None) -> None:
    """Raises TooLong if the text has certainly more than `most` tokens; a text that may have fewer is left to be
    counted.

    The end of a beginning can be other tokens than in the whole, so more than twice as many must already be in it.
    """
    if most is None:
        return
    size = max(SHORT, 8 * most)
    while size < len(text):
        if len(tokenizer(text[:size], add_special_tokens=False)["input_ids"]) > 2 * most + 64:  # type: ignore[arg-type]
            raise TooLong
        size *= 4
