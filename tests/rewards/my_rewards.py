"""Rewards as a user would write them."""

from rlsys.samples import Abstention, Score


def length(prompt, trajectory, scale=1.0):
    return scale * len(trajectory.text)


def crashes(prompt, trajectory):
    raise RuntimeError("no such thing\nsecond line")


def odd(prompt, trajectory):
    return {"nan": float("nan"), "text": "high", "none": None, "true": True, "leaves": Abstention("do not know")}[
        trajectory.text
    ]


class Keyword:
    def __init__(self, word):
        self.word = word
        self.closed = False

    def score(self, prompt, trajectory):
        return Score(float(self.word in trajectory.text), {"words": float(len(trajectory.text.split()))})

    def close(self):
        self.closed = True


class Broken:
    def __init__(self):
        raise OSError("no model here")


NUMBER = 3
