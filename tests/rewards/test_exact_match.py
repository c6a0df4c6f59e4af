import pytest

from rlsys.rewards.exact_match import Config, Reward
from rlsys.samples import Abstention, Score


@pytest.mark.parametrize(
    ("response", "answer", "settings", "wanted"),
    [
        ("1234", "1234", {}, 1.0),
        (" 1234\n", "1234", {}, 1.0),
        (" 1234", "1234", {"strip": False}, 0.0),
        ("1243", "1234", {}, 0.0),
        ("Yes", "yes", {}, 0.0),
        ("Yes", "yes", {"ignore_case": True}, 1.0),
        ("a  b\tc", "a b c", {"collapse_spaces": True}, 1.0),
        ("a  b", "a b", {}, 0.0),
    ],
)
def test_equal_after_normalisation(sample, response: str, answer: str, settings: dict, wanted: float):
    assert Reward(Config(**settings)).score(*sample(response, answer)) == Score(wanted)


def test_without_ground_truth_there_is_no_score(sample):
    assert Reward(Config()).score(*sample("x", None)) == Abstention("the prompt has no ground truth")


@pytest.mark.parametrize(
    ("response", "answer", "settings", "wanted"),
    [
        (r"so \boxed{12}", "12", {}, 0.0),
        (r"so \boxed{12}", "12", {"answer_places": ("box",)}, 1.0),
        (r"so \boxed{12.0}", "12", {"answer_places": ("box",)}, 0.0),  # letter by letter
        ("so #### Yes", "yes", {"answer_after": "####", "answer_places": ("marker",), "ignore_case": True}, 1.0),
        ("The answer is (C).", "C", {"answer_places": ("letter",)}, 1.0),
        ("12", "12", {"answer_places": ("box",)}, 0.0),
    ],
)
def test_in_the_place_that_is_asked_for(sample, response: str, answer: str, settings: dict, wanted: float):
    assert Reward(Config(**settings)).score(*sample(response, answer)) == Score(wanted)
