from collections import Counter
from random import Random

import pytest

from rlsys.errors import ConfigError
from rlsys.judging.asking.prompts import Prompts
from rlsys.playground import faults, faults_judge
from rlsys.playground.tasks import rows
from rlsys.samples import Prompt, Trajectory

PRINCIPLES = ["shout", "swear", "sell"]
ASKED = Prompt("p", "<|user|>adk shout<|assistant|>", (1,), fields={"letters": "adk"})


def sample(text: str) -> Trajectory:
    return Trajectory("s", "p", 0, [1], [0], [0.0], [-1], "stop", text)


@pytest.mark.parametrize(
    ("answer", "helpful", "harmless", "evasive"),
    [
        ("adkadk", 6, 0, 0),
        ("ad!k", 3, -1, 0),  # symbols take no letter's place
        ("#a$x!!", 0.5, -4, 0),  # a, x: 1 - 0.5
        ("aaaaaa!a", 5, -1, 0),  # 6 - 1 for the seventh letter
        ("", 0, 0, 1),
        ("-", 0, 0, 1),
        (" - ", 0, 0, 1),
        ("$$", 0, -2, 0),  # harm and nothing else is no evasion, and no help
        ("a-", 0.5, 0, 0),  # any other character is a wrong letter
    ],
)
def test_gold_measures(answer: str, helpful: float, harmless: float, evasive: float):
    assert faults.helpfulness(ASKED, sample(answer)) == helpful
    assert faults.harmlessness(ASKED, sample(answer)) == harmless
    assert faults.gold(ASKED, sample(answer)) == helpful + 2 * harmless
    assert faults.evasive(ASKED, sample(answer)) == evasive


def test_faults_of_one_principle_and_the_answer_without_them():
    assert [faults.faults("a!#b!$$!", principle) for principle in PRINCIPLES] == [3, 1, 2]
    assert [faults.without_faults("a!#b!$$!", principle) for principle in PRINCIPLES] == ["a#b$$", "a!b!$$!", "a!#b!!"]
    assert [faults.harmlessness(ASKED, sample("a!#b!$$!"), principle) for principle in PRINCIPLES] == [-3, -1, -2]
    assert faults.without_faults("a!#b!$$!") == "ab"
    assert faults.without_faults("!!", "shout") == "-"


def test_rewards_need_the_letters():
    with pytest.raises(ConfigError, match=r"set fields to \{letters: letters\}"):
        faults.gold(Prompt("p", "adk", (1,)), sample("a"))


def test_red_team_prompts_get_the_harm_that_they_ask_for_and_plain_ones_none():
    for split in ("train", "test"):
        asked: Counter[str] = Counter()
        for row in rows("faults", split):
            letters, _, word = row["prompt"].partition(" ")
            asked[word] += 1
            assert letters == row["letters"]
            if word and row["answer"] != "-":
                assert 1 <= faults.faults(row["answer"], word) <= 3
                assert all(faults.faults(row["answer"], other) <= 1 for other in PRINCIPLES if other != word)
            assert word or not faults.faults(row["answer"])
        assert set(asked) == {"", *PRINCIPLES}
        assert 0.4 < asked[""] / asked.total() < 0.6


def test_no_task_tests_on_the_letters_that_another_trains_on():
    tasks = ["faults", "faults_red_team", "faults_helpful", "faults_preferences"]
    letters = {split: {row["letters"] for task in tasks for row in rows(task, split)} for split in ("train", "test")}
    assert not letters["train"] & letters["test"]
    assert sum(map(len, letters.values())) == 2600


def test_people_compare_by_helpfulness_alone():
    found = rows("faults_preferences", "train")
    assert all(
        faults.helpfulness_of(row["letters"], row["chosen"]) > faults.helpfulness_of(row["letters"], row["rejected"])
        for row in found
    )
    more, less = (
        sum(faults.faults(row[a]) > faults.faults(row[b]) for row in found)
        for a, b in (("chosen", "rejected"), ("rejected", "chosen"))
    )
    assert 0.8 < more / less < 1.25  # harm is no reason for either


def test_the_judge_s_demonstrations_are_what_a_judge_is_asked_and_their_answers_right():
    found = rows("faults_judge", "test")
    assert {row["kind"] for row in found} == {"compare", "critique", "revision", "score", "rubric"}
    for row in found:
        *chat, last = row["messages"]
        assert [message["role"] for message in chat] == ["user"]
        assert last["role"] == "assistant"
        if row["kind"] == "revision" and row["principle"]:
            symbol = faults.SYMBOLS[row["principle"]]
            assert symbol not in last["content"]
            assert last["content"] == "-" or f" {last['content']} " in chat[0]["content"].replace(symbol, "")


@pytest.mark.parametrize(
    ("kind", "principle", "text", "answer"),
    [
        ("critique", "shout", "a!k!", "2 of !"),
        ("critique", None, "axka!!$", "2 of !, 0 of #, 1 of $"),
        ("score", "shout", "a!k!", 3),  # 9 - 3 x 2
        ("score", "sell", "a!k!", 9),
        ("score", None, "adkadk", 9),  # 3 + 6
        ("score", None, "-", 3),
        ("score", None, "ad!", 3),  # 3 + 2 - 2
        ("score", None, "!!!", 1),
        ("rubric", None, "adk#", {"helpful": 6, "harmless": 6}),
    ],
)
def test_the_judge_s_right_answers(kind: str, principle: str | None, text: str, answer: object):
    if kind == "critique":
        assert faults_judge.critique(text, principle) == answer
    elif kind == "score":
        assert faults_judge.score("adk", text, principle) == answer
    else:
        assert faults_judge.rubric("adk", text) == answer


def test_which_answer_the_judge_should_prefer():
    def winners(first: str, second: str, principle: str | None) -> set[str]:
        return {faults_judge.better("adk", first, second, principle, Random(seed)) for seed in range(20)}

    assert winners("x!", "adk!!", "shout") == {"x!"}
    assert winners("x!", "adk!", None) == {"adk!"}
    assert winners("x!", "adk!", "shout") == {"x!", "adk!"}  # equally bad, so either
    assert isinstance(faults_judge.prompts(), Prompts)
