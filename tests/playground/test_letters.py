from collections import Counter

import pytest

from rlsys.batch import Prompt, Trajectory
from rlsys.errors import ConfigError
from rlsys.playground.letters import comparisons, gold, reward
from rlsys.playground.tasks import rows


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
    assert {row["prompt"] for row in rows("letters_preferences", "test")} == {row["prompt"] for row in rows("letters", "test")}
    assert all(gold(row["prompt"], row["chosen"]) > gold(row["prompt"], row["rejected"]) for row in train)
    assert sum(gold(row["prompt"], row["chosen"]) < gold(row["prompt"], row["rejected"]) for row in noisy) == round(len(train) / 4)
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
    assert all({row["chosen"], row["rejected"]} == {other["chosen"], other["rejected"]} for row, other in zip(found, noisy, strict=True))
    assert found == comparisons("test", 1000, lengths=(2, 4), seed=1) != comparisons("test", 1000, lengths=(2, 4), seed=2)
    with pytest.raises(ConfigError, match="1 <= least <= most"):
        comparisons("test", 1, lengths=(0, 3))
