"""Tiny tasks whose rewards are known. A task is a finite set of questions, each of which belongs to one split."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from rlsys.errors import ConfigError
from rlsys.playground import chain, faults, letters
from rlsys.playground.splits import check_split, split_of
from rlsys.samples import stable_seed

Row = dict[str, Any]
"""Columns: texts, and `messages`, a list of {role, content}."""


@dataclass(frozen=True)
class Task:
    questions: Callable[[], Iterable[str]]
    """All of them, each once."""
    split: Callable[[str], str]
    """The split that a question belongs to."""
    row: Callable[[str, int], Row]
    """A question's row; the number tells a question's rows apart where it has several."""
    spoilt: Callable[[Row, random.Random], Row] | None
    """The row with a plausible wrong answer that is never the right one; None where no answer is right or wrong."""
    train_rows: int = 1
    """Rows of each training question; a test question has one."""


def rows(task: str, split: str, wrong_fraction: float = 0.0) -> list[Row]:
    """Every row of the split, as `read` gives them."""
    return list(read(task, split, wrong_fraction))


def read(task: str, split: str, wrong_fraction: float = 0.0) -> Iterator[Row]:
    """Every question of the split as rows, such as {prompt, answer}, in a mixed order that is always the same. A row is
    made when it is asked for.

    `wrong_fraction` of the rows (rounded to a whole number of them, the same rows each time) are spoilt. Raises
    ConfigError for names that do not exist, and for a `wrong_fraction` where nothing is right or wrong.
    """
    if task not in TASKS:
        raise ConfigError(f"playground:{task}: no such task; there are {', '.join(TASKS)}")
    check_split(task, split)
    kind = TASKS[task]
    if wrong_fraction and kind.spoilt is None:
        raise ConfigError(
            f"playground:{task}: no answer is right or wrong, so wrong_fraction has no meaning; leave it out"
        )
    numbers = range(kind.train_rows if split == "train" else 1)
    asked = [(question, number) for question in kind.questions() if kind.split(question) == split for number in numbers]
    random.Random(stable_seed(task, split, "order")).shuffle(asked)
    made = (kind.row(question, number) for question, number in asked)
    if kind.spoilt is None or not wrong_fraction:
        return made
    chance = random.Random(stable_seed(task, split, "wrong"))
    wrong = set(chance.sample(range(len(asked)), round(wrong_fraction * len(asked))))
    spoilt = kind.spoilt
    return (spoilt(row, chance) if index in wrong else row for index, row in enumerate(made))


def _digit_strings() -> Iterable[str]:
    """Four digits that are not all the same: only those can be sorted wrongly."""
    return ("".join(digits) for digits in itertools.product("0123456789", repeat=4) if len(set(digits)) > 1)


def _sort_row(question: str, _: int) -> Row:
    return {"prompt": question, "answer": "".join(sorted(question))}


def _shuffled(row: Row, chance: random.Random) -> Row:
    orders = {"".join(order) for order in itertools.permutations(row["prompt"])} - {row["answer"]}
    return {**row, "answer": chance.choice(sorted(orders))}


def _sums() -> Iterable[str]:
    return (f"{a}+{b}" for a in range(10, 100) for b in range(10, 100))


def _sum_split(question: str) -> str:
    """A sum and its mirror image stay together."""
    return split_of("add", "+".join(sorted(question.split("+"))))


def _sum_row(question: str, _: int) -> Row:
    return {"prompt": question, "answer": str(sum(int(term) for term in question.split("+")))}


def _judge_row(question: str, number: int) -> Row:
    from rlsys.playground import faults_judge  # needs the judge's words, which only this task does

    return faults_judge.demonstration(question, number)


def _off_by_a_digit(row: Row, chance: random.Random) -> Row:
    return {**row, "answer": str(int(row["answer"]) + chance.choice([-10, -1, 1, 10]))}


TASKS = {
    "sort_digits": Task(_digit_strings, lambda question: split_of("sort_digits", question), _sort_row, _shuffled),
    "add": Task(_sums, _sum_split, _sum_row, _off_by_a_digit),
    "letters": Task(letters.prompts, letters.split, letters.demonstration, spoilt=None, train_rows=4),
    "letters_eager": Task(letters.prompts, letters.split, letters.eager_demonstration, spoilt=None, train_rows=4),
    "letters_preferences": Task(letters.prompts, letters.split, letters.preference, letters.mislabelled, train_rows=4),
    "chain": Task(chain.questions, chain.split, chain.demonstration, chain.spoilt),
    "faults": Task(faults.questions, faults.split, faults.demonstration, spoilt=None, train_rows=4),
    "faults_red_team": Task(faults.questions, faults.split, faults.red_team, spoilt=None, train_rows=3),
    "faults_helpful": Task(faults.questions, faults.split, faults.helpful, spoilt=None),
    "faults_preferences": Task(faults.questions, faults.split, faults.preference, spoilt=None, train_rows=4),
    "faults_judge": Task(faults.questions, faults.split, _judge_row, spoilt=None, train_rows=24),
}
