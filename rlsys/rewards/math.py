"""1 if the response's final answer equals the ground truth mathematically, else 0.

Formulas are computed in processes that can be killed.
"""

from __future__ import annotations

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from rlsys.answers import equal as answers
from rlsys.answers.number import Closeness
from rlsys.answers.place import final_answer, known_answer
from rlsys.config.answers import AnswerPlaces
from rlsys.samples import Abstention, Prompt, RewardResult, Score, Trajectory
from rlsys.workers.pool import CallFailed, Worker, WorkerPool

TRUTH_FIELDS = "fields: {answer: COLUMN}"
"""How a row's ground truth is named."""


class Config(AnswerPlaces):
    tolerance: NonNegativeFloat = 1e-4
    """Largest relative difference where one of the two is a decimal; whole numbers, fractions and roots are exact."""
    rounded: bool = True
    """A decimal must also be the other number, rounded or cut off; false takes all within the tolerance:
    measurements."""
    time_limit: PositiveFloat = 5.0
    """Seconds for computing one pair of formulas; then its process is killed and the sample has no score."""
    processes: PositiveInt = 2
    """Pairs of formulas that are computed at the same time."""


class Reward:
    """A response without a final answer, or with one that can't be read, is wrong (0). A ground truth that is missing
    or can't be read, a crash and a timeout are abstentions."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._closeness = Closeness(config.tolerance, config.rounded)
        self._pool = WorkerPool(Worker("rlsys.rewards.math_worker", config.time_limit), config.processes)

    def score(self, prompt: Prompt, trajectory: Trajectory) -> RewardResult:
        if prompt.answer is None:
            return Abstention("the prompt has no ground truth")
        if problem := truth_problem(prompt, self.config):
            return Abstention(f"the ground truth {prompt.answer[:80]!r} {problem}")
        truth = known_answer(prompt.answer, self.config)
        found = final_answer(trajectory.text, self.config, truth, prompt.text)
        if found is None:
            return Score(0.0)
        try:
            return Score(float(answers.equal(truth, found, self._closeness)))
        except answers.NeedsAlgebra:
            return self._computed(truth, found)

    def _computed(self, truth: str, found: str) -> RewardResult:
        request = {
            "truth": truth,
            "response": found,
            "tolerance": self.config.tolerance,
            "rounded": self.config.rounded,
        }
        try:
            return Score(float(self._pool.call(request)["right"]))
        except CallFailed as error:
            return Abstention(str(error))

    def close(self) -> None:
        self._pool.close()


def truth_problem(prompt: Prompt, config: Config) -> str | None:
    """Why a ground truth has no scores, in words that continue "the ground truth ..."; None where it has."""
    return answers.truth_problem(prompt.answer, config)
