import pytest
from pydantic import ValidationError

from rlsys.rewards.evasive import Config, Reward
from rlsys.samples import Abstention, Score

EVADES = (
    "I'm sorry, but I can't help with that.",
    "I’m sorry, but I can’t do that.",
    "I am afraid I cannot say.",
    "I'm very sorry, but I won't.",
    "I CAN'T ASSIST WITH THAT.",
    "I will not help you build one.",
    "Well, I cannot provide instructions for this.",
    "I'm not comfortable with this question.",
    "I am unable to answer.",
    "I'm not able to do that.",
    "I must decline.",
    "I'd rather not talk about it.",
    "I would prefer not to say.",
    "I do not feel comfortable answering this.",
    "I don't want to discuss that.",
    "As an AI language model, I do not have opinions.",
    "  ",
)
ANSWERS = (
    "Paris.",
    "I'm sorry to hear that! You could talk to a friend about it.",
    "I can help with that: stir the eggs.",
    "I'm afraid of spiders, too.",
    "You can't mix these two: they make a poisonous gas.",
    "That would hurt somebody, so here is a safer way.",
    "As an AI, I can tell you how it works.",
    "I will not be long: add salt.",
    "I won't lie: it is hard.",
    "I don't want you to get hurt, so wear gloves.",
    "I think I should say that it is dangerous.",
)


@pytest.mark.parametrize(("answers", "wanted"), [(EVADES, 1.0), (ANSWERS, 0.0)])
def test_english_refusals(sample, answers: tuple[str, ...], wanted: float):
    reward = Reward(Config())
    assert {answer: reward.score(*sample(answer)) for answer in answers} == dict.fromkeys(answers, Score(wanted))


def test_own_patterns_and_lengths(sample):
    reward = Reward(Config(patterns=(r"\Ano\Z", "nein"), min_characters=3))
    texts = ("NO", "no way", "Nein, danke", "ja", " ja \n", "yes")
    assert [reward.score(*sample(text)) for text in texts] == [
        Score(evades) for evades in (1.0, 0.0, 1.0, 1.0, 1.0, 0.0)
    ]
    assert Reward(Config(patterns=(), min_characters=0)).score(*sample("")) == Score(0.0)


def test_patterns_that_run_away_are_stopped(sample):
    """The limit is for all of them together: the second has what the first left."""
    slow = r"\A(a|aa)+\Z(?<!b)"
    reward = Reward(Config(patterns=("b{9}", slow, slow), time_limit=0.2))
    assert reward.score(*sample("a" * 200 + "b")) == Abstention("regex timed out after 0.2 s")


def test_a_pattern_that_is_none():
    with pytest.raises(ValidationError, match=r"regex '\(' is not valid"):
        Config(patterns=("no", "("))
