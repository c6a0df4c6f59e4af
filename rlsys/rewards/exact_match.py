"""1 if the response, or the final answer in it, is the ground truth, letter by letter after normalisation; else 0."""

from __future__ import annotations

from dataclasses import dataclass

from rlsys.answers.place import final_answer, known_answer
from rlsys.config.answers import AnswerPlaces, Place
from rlsys.samples import Abstention, Prompt, RewardResult, Score, Trajectory

TRUTH_FIELDS = "fields: {answer: COLUMN}"
"""How a row's ground truth is named."""


class Config(AnswerPlaces):
    answer_places: tuple[Place, ...] = ()
    """Where in the response the answer is looked for, as in the reward `math`; none takes all of the response."""
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
        truth, given = prompt.answer, trajectory.text
        if self.config.answer_places:
            truth = known_answer(truth, self.config)
            given = final_answer(given, self.config, truth, prompt.text)
        return Score(float(given is not None and self._normalised(given) == self._normalised(truth)))

    def _normalised(self, text: str) -> str:
        if self.config.collapse_spaces:
            text = " ".join(text.split())
        if self.config.strip:
            text = text.strip()
        return text.casefold() if self.config.ignore_case else text


def truth_problem(prompt: Prompt, config: Config) -> str | None:
    """Why a ground truth has no scores, in words that continue "the ground truth ..."; None where it has."""
    return "is missing" if prompt.answer is None else None
