"""1 if the response is the ground truth, letter by letter after normalisation; else 0."""

from __future__ import annotations

from dataclasses import dataclass

from rlsys.config.base import Model
from rlsys.samples import Abstention, Prompt, RewardResult, Score, Trajectory


class Config(Model):
    strip: bool = True
    """Ignore white space at both ends."""
    ignore_case: bool = False
    """Upper and lower case are the same."""
    collapse_spaces: bool = False
    """Any run of white space equals one space."""


@dataclass(frozen=True)
class Reward:
    config: Config

    def score(self, prompt: Prompt, trajectory: Trajectory) -> RewardResult:
        if prompt.answer is None:
            return Abstention("the prompt has no ground truth")
        return Score(float(self._normalised(trajectory.text) == self._normalised(prompt.answer)))

    def _normalised(self, text: str) -> str:
        if self.config.collapse_spaces:
            text = " ".join(text.split())
        if self.config.strip:
            text = text.strip()
        return text.casefold() if self.config.ignore_case else text
