"""The task "chain", for reasoning paths: a prompt is a sum of three digits ("3+8+5"), an answer adds two numbers at a
time until one is left.

"3+8=11;11+5=16" and "5+8=13;3+13=16" are two of up to twelve paths to the same result. Each training question shows one
of them.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterable

from rlsys.errors import ConfigError
from rlsys.playground.splits import split_of
from rlsys.samples import Prompt, Trajectory, stable_seed

TASK = "chain"
TERMS = 3
EQUATION = re.compile(r"(\d+)\+(\d+)=(\d+)")


def questions() -> Iterable[str]:
    """All 729."""
    return ("+".join(terms) for terms in itertools.product("123456789", repeat=TERMS))


def split(question: str) -> str:
    """Questions with the same digits stay together."""
    return split_of(TASK, "+".join(sorted(question.split("+"))))


def demonstration(question: str, number: int) -> dict[str, str]:
    """The `number`-th path: two of the numbers that are there are drawn at random, and their sum takes their place,
    until one is left."""
    chance = random.Random(stable_seed(TASK, question, "path", number))
    left, equations = [int(term) for term in question.split("+")], []
    while len(left) > 1:
        first, second = (left.pop(chance.randrange(len(left))) for _ in range(2))
        equations.append(f"{first}+{second}={first + second}")
        left.append(first + second)
    return {"prompt": question, "answer": ";".join(equations)}


def spoilt(row: dict[str, str], chance: random.Random) -> dict[str, str]:
    """With a wrong result."""
    body, _, result = row["answer"].rpartition("=")
    return {**row, "answer": f"{body}={int(result) + chance.choice([-1, 1])}"}


def is_right(question: str, answer: str) -> bool:
    """Whether each equation holds and adds two numbers that are there, and nothing but the result is left."""
    left = [int(term) for term in question.split("+")]
    for step in answer.split(";"):
        equation = EQUATION.fullmatch(step)
        if equation is None:
            return False
        first, second, result = map(int, equation.groups())
        for term in (first, second):
            if term not in left:
                return False
            left.remove(term)
        if first + second != result:
            return False
        left.append(result)
    return len(left) == 1


def reward(prompt: Prompt, trajectory: Trajectory) -> float:
    """1 for a right answer, else 0."""
    if not isinstance(prompt.asked, str):
        raise ConfigError("rlsys.playground.chain.reward needs prompts that are a text, as those of playground:chain")
    return float(is_right(prompt.asked, trajectory.text))
