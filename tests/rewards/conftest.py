import pytest

from rlsys.samples import UNSAMPLED, Prompt, Trajectory


@pytest.fixture
def sample():
    """Makes a (prompt, trajectory) pair from a response and a ground truth."""

    def make(response: str, answer: str | None = None) -> tuple[Prompt, Trajectory]:
        prompt = Prompt("train:1", "question", (1,), answer)
        return prompt, Trajectory("s", "train:1", 0, [1, 2], [0, 1], [0.0, -0.5], [UNSAMPLED, 0], "stop", response)

    return make
