"""Tiny verifiable tasks. A task is a finite set of questions; each belongs to one split by its hash, so splits never share a question."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rlsys.batch import stable_seed
from rlsys.errors import ConfigError

SPLITS = ("train", "test")
TEST_SHARE = 8
"""One question in so many is a test question."""


@dataclass(frozen=True)
class Task:
    questions: Callable[[], Iterable[str]]
    """All of them, each once."""
    answer: Callable[[str], str]
    wrong_answer: Callable[[str, random.Random], str]
    """A plausible one that is never the right one."""
    split_key: Callable[[str], str]
    """Questions with equal keys stay in the same split."""


def rows(task: str, split: str, wrong_fraction: float = 0.0) -> list[dict[str, str]]:
    """Every question of the split as {prompt, answer}, in a mixed order that is always the same.

    `wrong_fraction` of the rows (rounded to a whole number of them, the same rows each time) carry a wrong answer. Raises ConfigError for
    names that do not exist.
    """
    if task not in TASKS:
        raise ConfigError(f"playground:{task}: no such task; there are {', '.join(TASKS)}")
    if split not in SPLITS:
        raise ConfigError(f"playground:{task}: no split {split!r}; there are {', '.join(SPLITS)}")
    kind = TASKS[task]
    questions = [question for question in kind.questions() if _split_of(task, kind.split_key(question)) == split]
    random.Random(stable_seed(task, split, "order")).shuffle(questions)
    chance = random.Random(stable_seed(task, split, "wrong"))
    wrong = set(chance.sample(range(len(questions)), round(wrong_fraction * len(questions))))
    return [
        {"prompt": question, "answer": kind.wrong_answer(question, chance) if index in wrong else kind.answer(question)}
        for index, question in enumerate(questions)
    ]


def _split_of(task: str, key: str) -> str:
    return "test" if stable_seed(task, key) % TEST_SHARE == 0 else "train"


def _digit_strings() -> Iterable[str]:
    """Four digits that are not all the same: only those can be sorted wrongly."""
    return ("".join(digits) for digits in itertools.product("0123456789", repeat=4) if len(set(digits)) > 1)


def _sorted(question: str) -> str:
    return "".join(sorted(question))


def _shuffled(question: str, chance: random.Random) -> str:
    orders = {"".join(order) for order in itertools.permutations(question)} - {_sorted(question)}
    return chance.choice(sorted(orders))


def _sums() -> Iterable[str]:
    return (f"{a}+{b}" for a in range(10, 100) for b in range(10, 100))


def _sum(question: str) -> str:
    return str(sum(int(term) for term in question.split("+")))


def _off_by_a_digit(question: str, chance: random.Random) -> str:
    return str(int(_sum(question)) + chance.choice([-10, -1, 1, 10]))


TASKS = {
    "sort_digits": Task(_digit_strings, _sorted, _shuffled, split_key=lambda question: question),
    "add": Task(_sums, _sum, _off_by_a_digit, split_key=lambda question: "+".join(sorted(question.split("+")))),
}
