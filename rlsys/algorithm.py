"""The shape of an algorithm: two verbs. `collect` touches only sampling and frozen roles; `learn` touches trainable ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from rlsys.batch import ScoredGroup
from rlsys.config.models import Experiment
from rlsys.data.stream import Source
from rlsys.judging.constitution import Use
from rlsys.judging.questions import Kind
from rlsys.objectives.stats import Stats
from rlsys.past import Past
from rlsys.registry import resolve
from rlsys.roles import Roles


@dataclass(frozen=True, slots=True)
class Step:
    """Where the run is: `number` counts from 1, `version` is the policy version that samplers hold, `seed` the run's, `memory` what the algorithm
    chose to remember in the step before (`Learned.memory`), `past` what the run wrote down until then (None: no run, as in a unit test)."""

    number: int
    version: int
    seed: int
    memory: Mapping[str, float] = field(default_factory=dict)
    past: Past | None = None


@dataclass(frozen=True)
class Experience:
    """What `collect` hands to `learn`. Algorithms subclass it with what they need."""

    version: int
    """Policy version that made it."""
    groups: tuple[ScoredGroup, ...] = ()
    """Everything sampled, trained on or not: the ledger keeps all of it."""
    beside: tuple[ScoredGroup, ...] = ()
    """Sampled for another purpose than to learn from (a baseline): for the ledger, under the phase `beside`."""
    rows: tuple[dict[str, Any], ...] = ()
    """Rows of a data set that this run makes (`dataset.jsonl` in its folder)."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Measured while collecting."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What `learn` did."""

    stats: Stats
    advantages: Mapping[str, float | None] = field(default_factory=dict)
    """Advantage by sample id, of the samples that were trained on; None where the loss knows none."""
    memory: dict[str, float] = field(default_factory=dict)
    """What the algorithm must know in the next step, also after a resume."""
    done: str | None = None
    """Why the run ends here, before loop.steps; None: it goes on."""


RowKind = Literal["prompts", "demonstrations", "comparisons", "texts", "answered", "labelled", "tasks"]


class Algorithm(Protocol):
    """One file of rlsys/algorithms or rlsys/stages. It holds no state: what a resumed run needs lives in the roles, the stream and `Step.memory`."""

    @property
    def rows(self) -> RowKind:
        """What the stream yields. A class attribute will do, here and below, where it is always the same."""
        ...

    @property
    def needs(self) -> frozenset[str]:
        """Names of the roles it uses: fields of `Roles`."""
        ...

    @property
    def updates_per_step(self) -> int:
        """Optimizer steps of one training step; learning-rate schedules are laid out over all of them."""
        ...

    def collect(self, roles: Roles, source: Source, step: Step) -> Experience: ...

    def learn(self, roles: Roles, experience: Experience, step: Step) -> Learned: ...


@runtime_checkable
class Measures(Protocol):
    """An algorithm that measures itself on held-out rows of its own kind, instead of by sampling answers to held-out prompts."""

    def measure(self, roles: Roles, rows: Sequence[Any]) -> Measured: ...


@runtime_checkable
class MakesRewardModel(Protocol):
    """A stage that trains a reward model."""

    @property
    def heads(self) -> int: ...


@runtime_checkable
class TakesRows(Protocol):
    """An algorithm that knows how many rows it takes at once, so that a data set of fewer is refused before anything starts."""

    @property
    def rows_per_step(self) -> int: ...


@runtime_checkable
class AsksJudge(Protocol):
    """An algorithm or stage that asks the judge by itself, whether or not the judge is a reward too."""

    @property
    def asks_for(self) -> frozenset[Kind]:
        """So that settings of other kinds of questions are refused."""
        ...

    @property
    def principles_for(self) -> frozenset[Use]:
        """The constitution must have some that are for this. Empty where it asks in general."""
        ...


@runtime_checkable
class TakesSamples(Protocol):
    """An algorithm or stage that knows how many samples of a prompt it takes in one group."""

    @property
    def samples_per_prompt(self) -> int: ...


@runtime_checkable
class ScoresTexts(Protocol):
    """A stage that has the rewards score texts which no policy sampled: they have no tokens, so only rewards that read text can."""

    @property
    def scores_texts(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Measured:
    """`metrics` by name; `score`: the higher, the better the model."""

    metrics: dict[str, float]
    score: float


def by_answers(algorithm: Algorithm) -> bool:
    """Whether an algorithm is evaluated by its samples' scores; one that measures itself is so only where its rows hold prompts."""
    scored = algorithm.needs >= {"rollout", "reward"}
    return scored and (algorithm.rows == "answered" or not isinstance(algorithm, Measures))


def build_algorithm(experiment: Experiment, pad_id: int) -> Algorithm:
    """The algorithm or stage that the experiment names."""
    package, config = ("rlsys.algorithms", experiment.algorithm) if experiment.algorithm else ("rlsys.stages", experiment.stage)
    return resolve(package, config.name, "Algorithm")(config, experiment.sampling, pad_id)
