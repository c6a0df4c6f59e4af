"""What Self-Instruct leaves out (Wang et al. 2022, arXiv 2212.10560, section 2.2 and the authors' code), each with a
reason that is counted."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Literal

from pydantic import Field, PositiveInt

from rlsys.config.base import Model
from rlsys.data.tasks import Instance

InstructionReason = Literal["empty", "short", "long", "start", "opening", "keyword", "language", "similar"]
InstanceReason = Literal["malformed", "empty_output", "echo", "unfinished", "contradictory", "duplicate"]


class FilterConfig(Model):
    max_rouge_l: float = Field(default=0.7, gt=0, le=1)
    """An instruction is left out where its ROUGE-L F with any other of the pool is at least this; 1 leaves out the same
    words only."""
    min_words: PositiveInt = 4
    """Instructions of fewer words are left out."""
    max_words: PositiveInt = 150
    """Instructions of more words are left out."""
    keywords: tuple[str, ...] = (
        "image",
        "images",
        "graph",
        "graphs",
        "picture",
        "pictures",
        "file",
        "files",
        "map",
        "maps",
        "draw",
        "plot",
        "go to",
    )
    """Instructions with one of these words (or phrases) are left out: a language model can't do what they ask. In any
    case of letters."""
    openings: tuple[str, ...] = ("Write a program",)
    """Instructions that begin so are left out: models come up with too many of them."""
    latin_share: float = Field(default=0.9, ge=0, le=1)
    """An instruction with a smaller share of Latin letters among its letters is left out; 0 lets all pass. It knows
    scripts, not languages."""


def instruction_problem(text: str, config: FilterConfig) -> InstructionReason | None:
    """Why the instruction can't be used, apart from its likeness to others; None if it can."""
    words = text.split()
    if not words:
        return "empty"
    if len(words) < config.min_words:
        return "short"
    if len(words) > config.max_words:
        return "long"
    if unicodedata.category(text[0])[0] in "PS":
        return "start"
    if any(text.lower().startswith(opening.lower()) for opening in config.openings):
        return "opening"
    if any(re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) for word in config.keywords):
        return "keyword"
    return "language" if latin_share(text) < config.latin_share else None


def latin_share(text: str) -> float:
    """Of the letters, by their names in Unicode; 0 where there is none."""
    letters = [char for char in text if char.isalpha()]
    return sum(unicodedata.name(char, "").startswith("LATIN") for char in letters) / len(letters) if letters else 0.0


def sort_instances(found: Sequence[Instance]) -> tuple[list[Instance], list[InstanceReason]]:
    """The instances of one task that can be used, and a reason for each other one. Where one input has different
    outputs nothing of the task can be trusted: all are left out."""
    outputs: dict[str, str] = {}
    if any(one.input and outputs.setdefault(one.input, one.output) != one.output for one in found):
        return [], ["contradictory"] * len(found)
    kept: list[Instance] = []
    reasons: list[InstanceReason] = []
    for one in found:
        reason = instance_problem(one) or ("duplicate" if one in kept else None)
        if reason is None:
            kept.append(one)
        else:
            reasons.append(reason)
    return kept, reasons


def instance_problem(instance: Instance) -> InstanceReason | None:
    """An `echo` says its input again. What ends in a colon is `unfinished`: something was to follow."""
    if not instance.output:
        return "empty_output"
    if instance.input == instance.output:
        return "echo"
    return "unfinished" if instance.input.endswith(":") or instance.output.endswith(":") else None
