"""What is asked of a judge, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rlsys.judging.asking.constitution import Principle
from rlsys.samples import RewardResult, Verdict

Kind = Literal["compare", "score", "rubric", "critique", "revision"]
"""What may be asked."""

Turns = str | tuple[Mapping[str, str], ...]
"""A prompt as its data set's row had it: a text, or messages."""


@dataclass(frozen=True, slots=True)
class Answer:
    sample_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Pair:
    """Which of two answers is better, under a principle or, with None, in general."""

    question_id: str
    """Unique over a run: seeds and verdict ids come from it."""
    turns: Turns
    first: Answer
    second: Answer
    principle: Principle | None = None


@dataclass(frozen=True, slots=True)
class Single:
    """How good one answer is; or what is wrong with it, and how it would be better."""

    question_id: str
    turns: Turns
    answer: Answer
    principle: Principle | None = None
    critique: str | None = None
    """For a revision: what was found wrong."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """`result` of a pair: the probability that `first` is better, averaged over both orders; of a single: its score.
    `verdicts`: every question asked for it, and the audits that went with it."""

    result: RewardResult
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class Writing:
    """A critique or a revision; `text` is None where there is none, and the verdict says why."""

    text: str | None
    verdict: Verdict
