"""A reward with settings of its own, checked before a run starts."""

from rlsys.config.base import Model


class Config(Model):
    bonus: float = 0.0
    """Added."""


class Reward:
    def __init__(self, config):
        self.config = config

    def score(self, prompt, trajectory):
        return 1 + self.config.bonus
