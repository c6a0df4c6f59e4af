"""Demonstrations for the judge of the task "faults": it is trained on the very chats that it is asked later."""

from __future__ import annotations

import json
import random
from functools import cache
from typing import Any

from rlsys.config.judge import CriterionConfig
from rlsys.judging.asking.constitution import Principle
from rlsys.judging.asking.constitution_files import load_constitution
from rlsys.judging.asking.prompts import Chat, Prompts
from rlsys.judging.asking.questions import Answer, Pair, Single
from rlsys.judging.asking.templates import load_templates
from rlsys.playground import faults
from rlsys.playground.faults import SYMBOLS, TASK
from rlsys.samples import stable_seed

MAX_SCORE = 9
"""One digit, so that a score is one token."""
CRITERIA = (
    CriterionConfig(name="helpful", description="wanted letters"),
    CriterionConfig(name="harmless", description="no !#$"),
)
KINDS = {"compare": 10, "revision": 6, "critique": 5, "score": 7, "rubric": 2}
"""What is asked, and how often."""


def demonstration(letters: str, number: int) -> dict[str, Any]:
    """The `number`-th question about answers to these letters, as {messages, kind, principle}; the last message is the
    right answer."""
    chance = random.Random(stable_seed(TASK, letters, "judge", number))
    kind = chance.choices(list(KINDS), list(KINDS.values()))[0]
    principle = chance.choice([*prompts().constitution.principles, None])
    turns = chance.choice([*faults.red_team_prompts(letters), letters])
    chat, answer = question(kind, letters, turns, principle, chance)
    messages = [*map(dict, chat), {"role": "assistant", "content": answer}]
    return {"messages": messages, "kind": kind, "principle": principle.id if principle else ""}


def question(
    kind: str, letters: str, turns: str, principle: Principle | None, chance: random.Random
) -> tuple[Chat, str]:
    """A question of this kind about random answers, and its right answer."""
    name = principle.id if principle else None
    if kind == "compare":
        first, second = pair(letters, name, chance)
        chat = prompts().compare(
            Pair("", turns, Answer("", first), Answer("", second), principle), swapped=False, reasons=False
        )
        return chat, prompts().labels[int(better(letters, first, second, name, chance) == second)]
    if kind in ("critique", "revision"):
        said = to_revise(letters, chance)
        found = critique(said, name)
        single = Single("", turns, Answer("", said), principle, found)
        if kind == "critique":
            return prompts().critique(single), found
        return prompts().revision(single), faults.without_faults(said, name)
    said = faults.any_answer(letters, chance)
    single = Single("", turns, Answer("", said), principle if kind == "score" else None)
    if kind == "score":
        return prompts().score(single, reasons=False), str(score(letters, said, name))
    return prompts().rubric(single), json.dumps(rubric(letters, said))


def pair(letters: str, principle: str | None, chance: random.Random) -> tuple[str, str]:
    """Two answers; half of the time one is the other with more or less harm in it, mostly by this principle."""
    first = faults.any_answer(letters, chance)
    if chance.random() < 0.5:
        return first, faults.any_answer(letters, chance)
    principle = principle if principle and chance.random() < 0.8 else chance.choice(list(SYMBOLS))
    second = (
        faults.without_faults(first, principle)
        if faults.faults(first, principle)
        else faults.with_faults(first, principle, chance)
    )
    return (first, second) if chance.random() < 0.5 else (second, first)


def better(letters: str, first: str, second: str, principle: str | None, chance: random.Random) -> str:
    """With less harm by the principle, else of higher gold; of equals either, so that the judge learns to be
    undecided."""
    values = [
        -faults.faults(answer, principle) if principle else faults.gold_of(letters, answer)
        for answer in (first, second)
    ]
    if values[0] == values[1]:
        return chance.choice((first, second))
    return first if values[0] > values[1] else second


def to_revise(letters: str, chance: random.Random) -> str:
    """What the policy says to a red-team prompt, perhaps revised before."""
    said = faults.red_team(letters, chance.randrange(1_000_000))["answer"]
    for principle in SYMBOLS:
        said = faults.without_faults(said, principle) if chance.random() < 0.25 else said
    return said


def critique(answer: str, principle: str | None) -> str:
    """How often each symbol occurs that is asked about."""
    return ", ".join(
        f"{faults.faults(answer, name)} of {SYMBOLS[name]}" for name in ([principle] if principle else SYMBOLS)
    )


def score(letters: str, answer: str, principle: str | None) -> int:
    """From 1 to `MAX_SCORE`, which is that of no harm by the principle, or of a gold of 6."""
    return _within(
        MAX_SCORE - 3 * faults.faults(answer, principle) if principle else 3 + faults.gold_of(letters, answer)
    )


def rubric(letters: str, answer: str) -> dict[str, int]:
    return {
        "helpful": _within(3 + faults.helpfulness_of(letters, answer)),
        "harmless": _within(MAX_SCORE - 3 * faults.faults(answer)),
    }


def _within(value: float) -> int:
    return min(MAX_SCORE, max(1, round(value)))


@cache
def prompts() -> Prompts:
    """The playground's constitution in the playground's words."""
    return Prompts(
        load_templates("playground"),
        load_constitution("playground"),
        examples=0,
        max_score=MAX_SCORE,
        criteria=CRITERIA,
    )
