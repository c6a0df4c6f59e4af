"""How much a page embeds: it is one file that is sent to people."""

from __future__ import annotations

from dataclasses import dataclass

LARGEST = 5_000_000
"""Bytes of a page."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """`samples` and `points` are of all stages together."""

    samples: int
    """In the browser of samples."""
    characters: int
    """Of a prompt, a response, a reason."""
    points: int
    """Steps of a curve."""

    def of_each(self, stages: int) -> Bounds:
        return Bounds(max(self.samples // stages, 1), self.characters, max(self.points // stages, 20))

    def cut(self, text: str) -> str:
        """The text, or its beginning and how much there is."""
        if len(text) <= self.characters:
            return text
        return f"{text[: self.characters]} … (the first {self.characters:,} of {len(text):,} characters)"


TRIED = (Bounds(2000, 4000, 2000), Bounds(600, 2000, 1000), Bounds(150, 500, 500), Bounds(100, 100, 100))
"""The first with which a page is no larger than `LARGEST` is taken."""
