from collections import Counter

import pytest

from rlsys.errors import ConfigError
from rlsys.playground.chain import is_right, reward
from rlsys.playground.tasks import rows
from rlsys.samples import Prompt, Trajectory


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("3+8=11;11+5=16", True),
        ("5+8=13;3+13=16", True),
        ("3+8=12;12+5=17", False),  # a wrong sum
        ("3+8=11", False),  # 5 is left
        ("9+9=18", False),  # no such numbers
        ("3+8=11;3+5=8", False),  # 3 is gone
        ("3+8=11;11+5=16;", False),
        ("3+8=11; 11+5=16", False),
        ("16", False),
        ("", False),
    ],
)
def test_a_path_adds_what_is_there_until_one_number_is_left(answer: str, right: bool):
    assert is_right("3+8+5", answer) is right


def test_a_number_can_be_taken_as_often_as_it_is_there():
    assert is_right("4+4+1", "4+4=8;1+8=9")
    assert not is_right("4+3+1", "4+4=8;1+8=9")


def test_each_training_question_shows_one_right_path_and_orders_vary():
    train, test = rows("chain", "train"), rows("chain", "test")
    asked = Counter(row["prompt"] for row in train + test)
    assert (len(asked), set(asked.values())) == (9**3, {1})
    assert all(is_right(row["prompt"], row["answer"]) for row in train + test)
    groups = [{"".join(sorted(row["prompt"])) for row in of} for of in (train, test)]
    assert not groups[0] & groups[1]
    in_order = [row["answer"].startswith(f"{row['prompt'][:3]}=") for row in train]
    assert (
        0.12 < sum(in_order) / len(train) < 0.25
    )  # 1 in 6 draws the first two terms in order, and a little more where terms are equal
    spoilt = rows("chain", "train", 0.25)
    assert sum(not is_right(row["prompt"], row["answer"]) for row in spoilt) == round(len(spoilt) / 4)


def test_the_reward_reads_the_row_and_not_the_rendered_prompt():
    sample = Trajectory("s", "p", 0, [1], [0], [0.0], [-1], "stop", "3+8=11;11+5=16")
    assert reward(Prompt("p", "<|user|>3+8+5<|assistant|>", (1,), turns="3+8+5"), sample) == 1.0
    assert reward(Prompt("p", "<|user|>3+8+4<|assistant|>", (1,), turns="3+8+4"), sample) == 0.0
    with pytest.raises(ConfigError, match="needs prompts that are a text"):
        reward(Prompt("p", "3+8+5", (1,), turns=({"role": "user", "content": "3+8+5"},)), sample)
