"""A sampler whose answers are told by a function of what it is shown, and its spawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rlsys.config.experiment import Experiment
from rlsys.config.sampling import Sampling
from rlsys.roles import Roles, SpawnRequest
from rlsys.samples import Group, Prompt
from support.scripted_sampler import sample


class Answering:
    """Every model answers by `says`, a function of the text that it is shown."""

    def __init__(self, says: Callable[[str], str]) -> None:
        self.says, self.shown = says, list[str]()

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling, tag: str) -> Iterator[Group]:
        for prompt in prompts:
            self.shown.append(prompt.text)
            texts = [self.says(prompt.text)] * sampling.n
            yield Group(prompt, tuple(sample(prompt, index, text, tag) for index, text in enumerate(texts)))

    @contextmanager
    def __call__(self, experiment: Experiment, request: SpawnRequest) -> Iterator[Roles]:
        yield Roles(rollout=self)
