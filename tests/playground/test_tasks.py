import pytest

from rlsys.errors import ConfigError
from rlsys.playground.tasks import rows


def is_right(task: str, row: dict[str, str]) -> bool:
    if task == "add":
        a, b = row["prompt"].split("+")
        return int(a) + int(b) == int(row["answer"])
    return list(row["answer"]) == sorted(row["prompt"])


@pytest.mark.parametrize(("task", "questions"), [("sort_digits", 10_000 - 10), ("add", 90 * 90)])
def test_splits_share_the_questions_out_and_answer_them_rightly(task: str, questions: int):
    train, test = rows(task, "train"), rows(task, "test")
    prompts = [row["prompt"] for row in train + test]
    assert len(set(prompts)) == len(prompts) == questions
    assert all(is_right(task, row) for row in train + test)
    assert 0.10 < len(test) / questions < 0.15


def test_a_sum_and_its_mirror_image_are_in_the_same_split():
    train = {row["prompt"] for row in rows("add", "train")}
    assert all("+".join(reversed(prompt.split("+"))) in train for prompt in train)


@pytest.mark.parametrize("task", ["sort_digits", "add"])
def test_the_asked_fraction_is_wrong_and_nothing_else_changes(task: str):
    good, half = rows(task, "train"), rows(task, "train", 0.5)
    assert [row["prompt"] for row in good] == [row["prompt"] for row in half]
    assert sum(not is_right(task, row) for row in half) == round(len(half) / 2)
    assert half == rows(task, "train", 0.5)
    if task == "sort_digits":
        assert all(sorted(row["answer"]) == sorted(row["prompt"]) for row in half)


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(
        ConfigError,
        match=r"playground:sort: no such task; there are sort_digits, add, letters, letters_eager, letters_preferences",
    ):
        rows("sort", "train")
    with pytest.raises(ConfigError, match="no split 'dev'; there are train, test"):
        rows("add", "dev")
