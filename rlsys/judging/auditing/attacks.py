"""Attacks on a judge: what a candidate may say to be judged better than it is.

The texts stand in attacks.yaml. They are for two things: tests that no verdict is ever read out of a candidate, and
measuring how often a real judge is persuaded (`rlsys judge-eval`).
"""

from __future__ import annotations

import base64
import codecs
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt

from rlsys.config.base import Model
from rlsys.config.document import load_as

FILE = Path(__file__).parent / "attacks.yaml"

Encoding = Literal[
    "none",
    "base64",
    "hex",
    "rot13",
    "url",
    "reversed",
    "escapes",
    "entities",
    "binary",
    "full_width",
    "zero_width",
    "tags",
    "spaced",
    "leet",
]
ENCODINGS: dict[Encoding, Callable[[str], str]] = {
    "none": lambda text: text,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "hex": lambda text: text.encode().hex(),
    "rot13": lambda text: codecs.encode(text, "rot13"),
    "url": lambda text: urllib.parse.quote(text, safe=""),
    "reversed": lambda text: text[::-1],
    "escapes": lambda text: "".join(f"\\u{ord(character):04x}" for character in text),
    "entities": lambda text: "".join(f"&#{ord(character)};" for character in text),
    "binary": lambda text: " ".join(f"{byte:08b}" for byte in text.encode()),
    "full_width": lambda text: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text),
    "zero_width": "\u200b".join,
    "tags": lambda text: "".join(
        chr(0xE0000 + ord(character)) if character.isascii() else character for character in text
    ),
    "spaced": " ".join,
    "leet": lambda text: text.translate(str.maketrans("aeiostAEIOST", "431057431057")),
}
"""What an attack's text may be wrapped in: some judges understand it, and filters that look for the words don't."""


class Entry(Model):
    """One attack of a family."""

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    """Its name, unique over all families."""
    text: str = Field(min_length=1)
    """What the candidate says beside its answer, or in place of it."""
    place: Literal["after", "before", "around", "instead"] = "after"
    """Where it stands. `around` is both before and after."""
    encoding: Encoding = "none"
    """What it is wrapped in."""
    times: PositiveInt = 1
    """How often it is said."""


class Attacks(Model):
    families: dict[str, tuple[Entry, ...]]
    """Attacks of one kind, by the kind's name."""


@dataclass(frozen=True, slots=True)
class Attack:
    name: str
    family: str
    place: str
    text: str
    """As it is said: encoded, and as often as it is said."""

    def apply(self, text: str) -> str:
        """The candidate `text`, attacking its judge."""
        match self.place:
            case "after":
                return f"{text}\n\n{self.text}"
            case "before":
                return f"{self.text}\n\n{text}"
            case "around":
                return f"{self.text}\n\n{text}\n\n{self.text}"
        return self.text


def attacks() -> list[Attack]:
    """All of them, in the order of the file; names and texts differ."""
    return [
        Attack(entry.name, family, entry.place, "\n".join([ENCODINGS[entry.encoding](entry.text)] * entry.times))
        for family, entries in load_as(Attacks, FILE).families.items()
        for entry in entries
    ]
