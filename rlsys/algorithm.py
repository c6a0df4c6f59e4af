"""The shape of an algorithm: two verbs. `collect` touches only sampling and frozen roles; `learn` touches trainable ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from rlsys.batch import ScoredGroup
from rlsys.config.models import Experiment
from rlsys.data.stream import Stream
from rlsys.objectives.stats import Stats
from rlsys.registry import resolve
from rlsys.roles import Roles


@dataclass(frozen=True, slots=True)
class Step:
    """Where the run is: `number` counts from 1, `version` is the policy version that samplers hold, `seed` the run's."""

    number: int
    version: int
    seed: int


@dataclass(frozen=True)
class Experience:
    """What `collect` hands to `learn`. Algorithms subclass it with what they need."""

    version: int
    """Policy version that made it."""
    groups: tuple[ScoredGroup, ...] = ()
    """Everything sampled, trained on or not: the ledger keeps all of it."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Measured while collecting."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What `learn` did."""

    stats: Stats
    advantages: dict[str, float] = field(default_factory=dict)
    """Advantage by sample id, of the samples that were trained on."""


class Algorithm(Protocol):
    """One file of rlsys/algorithms or rlsys/stages. It holds no state: what a resumed run needs lives in the roles and the stream."""

    @property
    def needs(self) -> frozenset[str]:
        """Names of the roles it uses: policy, rollout, reference, reward."""
        ...

    @property
    def updates_per_step(self) -> int:
        """Optimizer steps of one training step; learning-rate schedules are laid out over all of them."""
        ...

    @property
    def rows(self) -> str:
        """What the stream yields: `prompts` or `demonstrations`."""
        ...

    def collect(self, roles: Roles, source: Stream, step: Step) -> Experience: ...

    def learn(self, roles: Roles, experience: Experience, step: Step) -> Learned: ...


def build_algorithm(experiment: Experiment, pad_id: int) -> Algorithm:
    """The algorithm or stage that the experiment names."""
    package, config = ("rlsys.algorithms", experiment.algorithm) if experiment.algorithm else ("rlsys.stages", experiment.stage)
    return resolve(package, config.name, "Algorithm")(config, experiment.sampling, pad_id)
