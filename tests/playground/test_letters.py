import itertools
import math
from collections import Counter
from string import ascii_lowercase

import pytest

from rlsys.errors import ConfigError
from rlsys.playground.letters import comparisons, demonstration, eager_demonstration, gold, log_prob_of_answer, reward
from rlsys.playground.tasks import rows
from rlsys.samples import Prompt, Trajectory


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("", 0),
        ("a", 1),
        ("dak", 3),
        ("aaaaaa", 6),
        ("aaaaaad", 5),  # 6 - 1: the seventh letter costs, though it is one of the prompt's
        ("aaaaaazzz", 3),  # 6 - 3
        ("axd", 1.5),  # 1 - 0.5 + 1
        ("A k.", -0.5),  # -0.5 - 0.5 + 1 - 0.5
        ("xyzxyzxyz", -6),  # 6 x -0.5 - 3
    ],
)
def test_gold(answer: str, value: float):
    assert gold("adk", answer) == value


def test_the_reward_takes_the_letters_from_the_row_and_not_from_the_rendered_prompt():
    def sample(text: str) -> Trajectory:
        return Trajectory("s", "p", 0, [1], [0], [0.0], [-1], "stop", text)

    prompt = Prompt("p", "<|user|>adk<|assistant|>", (1,), fields={"letters": "adk"})
    assert reward(prompt, sample("ausa")) == 1.0  # a, u, s, a: 1 - 0.5 - 0.5 + 1
    with pytest.raises(ConfigError, match=r"set fields to \{letters: letters\}"):
        reward(Prompt("p", "adk", (1,)), sample("a"))


def test_rows():
    train, test = rows("letters", "train"), rows("letters", "test")
    asked = Counter(row["prompt"] for row in train)
    assert set(asked.values()) == {4}
    assert len(asked) + len(test) == 26 * 25 * 24 // 6 == len(asked.keys() | {row["prompt"] for row in test})
    assert all(row["letters"] == row["prompt"] and len(set(row["prompt"])) == 3 for row in train + test)
    lengths = Counter(len(row["answer"]) for row in train)
    assert set(lengths) == set(range(1, 7))
    assert max(lengths.values()) < 1.15 * min(lengths.values())
    letters = [letter in row["letters"] for row in train for letter in row["answer"]]
    assert abs(sum(letters) / len(letters) - 0.5) < 0.01
    with pytest.raises(ConfigError, match="letters: no answer is right or wrong, so wrong_fraction has no meaning"):
        rows("letters", "train", 0.1)


def test_preferences_have_the_splits_of_the_prompts_and_as_many_wrong_labels_as_asked():
    train, noisy = rows("letters_preferences", "train"), rows("letters_preferences", "train", 0.25)
    assert {row["prompt"] for row in rows("letters_preferences", "test")} == {
        row["prompt"] for row in rows("letters", "test")
    }
    assert all(gold(row["prompt"], row["chosen"]) > gold(row["prompt"], row["rejected"]) for row in train)
    assert sum(gold(row["prompt"], row["chosen"]) < gold(row["prompt"], row["rejected"]) for row in noisy) == round(
        len(train) / 4
    )
    assert [{row["chosen"], row["rejected"]} for row in train] == [{row["chosen"], row["rejected"]} for row in noisy]


def test_comparisons_are_labelled_by_gold_and_turned_round_by_noise_alone():
    found = comparisons("test", 1000, lengths=(2, 4), seed=1)
    assert len(found) == 1000
    assert {len(row[name]) for row in found for name in ("chosen", "rejected")} == {2, 3, 4}
    assert all(gold(row["prompt"], row["chosen"]) > gold(row["prompt"], row["rejected"]) for row in found)
    assert {row["prompt"] for row in found} <= {row["prompt"] for row in rows("letters", "test")}
    noisy = comparisons("test", 1000, lengths=(2, 4), label_noise=0.2, seed=1)
    turned = [row != other for row, other in zip(found, noisy, strict=True)]
    assert 150 < sum(turned) < 250  # 200 +- 4 standard deviations of 12.6
    assert all(
        {row["chosen"], row["rejected"]} == {other["chosen"], other["rejected"]}
        for row, other in zip(found, noisy, strict=True)
    )
    assert (
        found == comparisons("test", 1000, lengths=(2, 4), seed=1) != comparisons("test", 1000, lengths=(2, 4), seed=2)
    )
    with pytest.raises(ConfigError, match="1 <= least <= most"):
        comparisons("test", 1, lengths=(0, 3))


def test_the_probability_of_an_answer():
    """Over all answers of up to three letters they sum to 3/6; "adx" is 1/6 x 1/6 x 1/6 x 1/46; and many demonstrations
    have it on average."""
    shorter = (
        "".join(letters) for length in (1, 2, 3) for letters in itertools.product(ascii_lowercase, repeat=length)
    )
    assert math.fsum(math.exp(log_prob_of_answer("adk", answer)) for answer in shorter) == pytest.approx(0.5, abs=1e-12)
    assert log_prob_of_answer("adk", "adx") == pytest.approx(math.log(1 / 6 / 6 / 6 / 46))
    assert (
        log_prob_of_answer("adk", "")
        == log_prob_of_answer("adk", "aaaaaaa")
        == log_prob_of_answer("adk", "A")
        == -math.inf
    )
    drawn = [log_prob_of_answer("adk", demonstration("adk", number)["answer"]) for number in range(4000)]
    entropy = math.log(6) + 3.5 * (0.5 * math.log(6) + 0.5 * math.log(46))
    assert sum(drawn) / len(drawn) == pytest.approx(-entropy, abs=0.3)  # 4 standard errors


def test_the_eager_teacher_keeps_to_the_prompt():
    letters = [letter in "adk" for number in range(2000) for letter in eager_demonstration("adk", number)["answer"]]
    assert sum(letters) / len(letters) == pytest.approx(0.9, abs=0.02)
    assert {row["prompt"] for row in rows("letters_eager", "test")} == {
        row["prompt"] for row in rows("letters", "test")
    }
