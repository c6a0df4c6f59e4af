"""1 if the response's final answer equals the ground truth mathematically (math-verify), else 0. Each check runs in a
killable process."""

from __future__ import annotations

from pydantic import PositiveFloat, PositiveInt

from rlsys.config.base import Model
from rlsys.rewards.worker_pool import CallFailed, WorkerPool
from rlsys.samples import Abstention, Prompt, RewardResult, Score, Trajectory


class Config(Model):
    time_limit: PositiveFloat = 5.0
    """Seconds for one check; then its process is killed and the sample has no score."""
    processes: PositiveInt = 2
    """Checks that run at the same time."""


class Reward:
    """The answer is what math-verify finds in the response: the last boxed or announced expression, else the last
    number. A response without any is a wrong answer (0). A ground truth that is missing or can't be parsed, a crash and
    a timeout are abstentions."""

    def __init__(self, config: Config) -> None:
        self._pool = WorkerPool("rlsys.rewards.math_worker", config.processes, config.time_limit)

    def score(self, prompt: Prompt, trajectory: Trajectory) -> RewardResult:
        if prompt.answer is None:
            return Abstention("the prompt has no ground truth")
        try:
            right = self._pool.call({"gold": prompt.answer, "response": trajectory.text})["right"]
        except CallFailed as error:
            return Abstention(str(error))
        if right is None:
            return Abstention(f"the ground truth {prompt.answer!r} can't be parsed as mathematics")
        return Score(float(right))

    def close(self) -> None:
        self._pool.close()
