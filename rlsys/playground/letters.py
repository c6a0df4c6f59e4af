"""The task "letters", for learned rewards: a prompt is three letters ("adk"), an answer any letters, and a known gold
reward stands for the human."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable
from string import ascii_lowercase

from rlsys.errors import ConfigError
from rlsys.playground.splits import check_split, split_of
from rlsys.samples import Prompt, Trajectory, stable_seed

TASK = "letters"
WANTED = 6
"""Letters of an answer that can earn something; each further one costs 1."""
RIGHT, WRONG, TOO_MANY = 1.0, -0.5, -1.0


def gold(letters: str, answer: str) -> float:
    """1 for each of the answer's first six characters that is among the prompt's letters, -0.5 for each that is not, -1
    for each beyond."""
    scored, beyond = answer[:WANTED], answer[WANTED:]
    return sum(RIGHT if letter in letters else WRONG for letter in scored) + TOO_MANY * len(beyond)


def reward(prompt: Prompt, trajectory: Trajectory) -> float:
    """`gold` as a reward. The data set must pass the prompt's letters on (fields: {letters: letters}), since
    `prompt.text` may hold a chat template's words too."""
    if "letters" not in prompt.fields:
        raise ConfigError(
            "rlsys.playground.letters.reward needs the prompt's letters; set fields to {letters: letters} in its data "
            "sets"
        )
    return gold(prompt.fields["letters"], trajectory.text)


def prompts() -> Iterable[str]:
    """All 2600."""
    return ("".join(letters) for letters in itertools.combinations(ascii_lowercase, 3))


def split(letters: str) -> str:
    return split_of(TASK, letters)


def log_prob_of_answer(letters: str, answer: str) -> float:
    """The natural logarithm of the probability with which `demonstration` gives this answer to these letters; -inf
    where it never does."""
    if not 1 <= len(answer) <= WANTED or not set(answer) <= set(ascii_lowercase):
        return -math.inf
    of_prompt, of_others = math.log(0.5 / len(letters)), math.log(0.5 / (len(ascii_lowercase) - len(letters)))
    return -math.log(WANTED) + sum(of_prompt if letter in letters else of_others for letter in answer)


def eager_demonstration(letters: str, number: int) -> dict[str, str]:
    """Another teacher's `number`-th answer: nine of ten letters are the prompt's, where `demonstration` has one of
    two."""
    answer = random_answer(letters, (1, WANTED), random.Random(stable_seed(TASK, letters, "eager", number)), share=0.9)
    return {"prompt": letters, "answer": answer, "letters": letters}


def demonstration(letters: str, number: int) -> dict[str, str]:
    """The `number`-th answer to these letters: a random one, so that there is something left to learn."""
    answer = random_answer(letters, (1, WANTED), random.Random(stable_seed(TASK, letters, "answer", number)))
    return {"prompt": letters, "answer": answer, "letters": letters}


def preference(letters: str, number: int) -> dict[str, str]:
    """The `number`-th pair of answers to these letters, labelled by gold."""
    chosen, rejected = _pair(letters, (1, WANTED), random.Random(stable_seed(TASK, letters, "pair", number)))
    return {"prompt": letters, "chosen": chosen, "rejected": rejected, "letters": letters}


def mislabelled(row: dict[str, str], _: random.Random) -> dict[str, str]:
    return {**row, "chosen": row["rejected"], "rejected": row["chosen"]}


def comparisons(
    split: str, pairs: int, lengths: tuple[int, int] = (1, WANTED), label_noise: float = 0.0, seed: int = 0
) -> list[dict[str, str]]:
    """`pairs` rows of {prompt, chosen, rejected, letters}: random answers to random prompts of the split, labelled by
    gold; ties are drawn anew.

    `lengths`: least and most letters of an answer. Each label is turned round with probability `label_noise`, which
    changes nothing else. Raises ConfigError for a split that does not exist and for lengths below 1.
    """
    check_split(TASK, split)
    least, most = lengths
    if not 1 <= least <= most:
        raise ConfigError(f"lengths {lengths}: wanted (least, most) with 1 <= least <= most")
    known = [letters for letters in prompts() if split_of(TASK, letters) == split]
    chance, noise = (random.Random(stable_seed(TASK, split, use, seed)) for use in ("comparisons", "noise"))
    rows = []
    for _ in range(pairs):
        letters = chance.choice(known)
        chosen, rejected = _pair(letters, lengths, chance)
        row = {"prompt": letters, "chosen": chosen, "rejected": rejected, "letters": letters}
        rows.append(mislabelled(row, noise) if noise.random() < label_noise else row)
    return rows


def random_answer(letters: str, lengths: tuple[int, int], chance: random.Random, share: float = 0.5) -> str:
    """Of a uniform length; each letter is one of `letters` with probability `share`, else another one."""
    others = [letter for letter in ascii_lowercase if letter not in letters]
    return "".join(
        chance.choice(letters if chance.random() < share else others) for _ in range(chance.randint(*lengths))
    )


def _pair(letters: str, lengths: tuple[int, int], chance: random.Random) -> tuple[str, str]:
    """The better one first."""
    while True:
        answers = [random_answer(letters, lengths, chance) for _ in range(2)]
        worse, better = sorted(answers, key=lambda answer: gold(letters, answer))
        if gold(letters, worse) < gold(letters, better):
            return better, worse
