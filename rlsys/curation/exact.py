"""Texts that are the same but for case, white space and Unicode form."""

from __future__ import annotations

import unicodedata

import xxhash

PARTS = "\x1f"
"""Between the parts of a row: no text has it after `normal`, as it counts as white space."""


def normal(text: str) -> str:
    """NFKC, without case, one blank for any white space."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.casefold().split())


def fingerprint(*normal_texts: str) -> int:
    """128 bits of texts that are `normal`: among ten million different ones two have the same with a probability below
    1e-24."""
    return xxhash.xxh3_128_intdigest(PARTS.join(normal_texts).encode("utf-8", "replace"))


def short(text: str) -> int:
    """63 bits of any text, for arrays of numbers."""
    return xxhash.xxh3_64_intdigest(text.encode("utf-8", "replace")) >> 1
