import pytest
from pydantic import ValidationError

from rlsys.rewards.format import Config, Reward
from rlsys.samples import Abstention, Score

THINK = {"tags": ("think", "answer")}
PERSON = {
    "json_schema": {"type": "object", "required": ["age"], "properties": {"age": {"type": "integer", "minimum": 0}}}
}


@pytest.mark.parametrize(
    ("settings", "response", "wanted"),
    [
        ({"regex": r"\\boxed\{.+\}"}, r"so \boxed{4}.", 1.0),
        ({"regex": r"\\boxed\{.+\}"}, "so 4", 0.0),
        ({"regex": r"\A\d+\Z"}, "12 ", 0.0),
        (THINK, " <think>a\nb</think>\n<answer>4</answer> ", 1.0),
        (THINK, "<answer>4</answer><think>a</think>", 0.0),
        (THINK, "<think>a</think> and <answer>4</answer>", 0.0),
        (THINK, "<think>a</think><answer>4", 0.0),
        (THINK, "<think>a<answer>4</answer></think>", 0.0),
        (THINK, "<think>a</think><answer>4</answer><answer>5</answer>", 0.0),
        (PERSON, '{"age": 3}', 1.0),
        (PERSON, '{"age": -3}', 0.0),
        (PERSON, '{"age": 3', 0.0),
        (PERSON, '{"age": NaN}', 0.0),
        (PERSON, "[" * 100_000, 0.0),
    ],
)
def test_form(sample, settings: dict, response: str, wanted: float):
    assert Reward(Config(**settings)).score(*sample(response)) == Score(wanted)


def test_a_regex_that_runs_away_is_stopped(sample):
    reward = Reward(Config(regex=r"\A(a|aa)+\Z(?<!b)", time_limit=0.2))
    assert reward.score(*sample("a" * 200 + "b")) == Abstention("regex timed out after 0.2 s")


def test_a_schema_is_not_fetched_from_elsewhere(sample):
    result = Reward(Config(json_schema={"$ref": "https://example.invalid/schema"})).score(*sample("1"))
    assert isinstance(result, Abstention)
    assert "example.invalid" in result.reason


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "exactly one of regex, tags and json_schema"),
        ({"regex": "a", "tags": ("b",)}, "exactly one of regex, tags and json_schema"),
        ({"regex": "("}, "regex '\\(' is not valid"),
        ({"json_schema": {"type": "number", "minimum": "low"}}, "json_schema is not valid"),
    ],
)
def test_impossible_settings(settings: dict, message: str):
    with pytest.raises(ValidationError, match=message):
        Config(**settings)
