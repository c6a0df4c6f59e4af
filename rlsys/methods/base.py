"""What a method is: one file of `rlsys/methods`, named in a config as `method: {name: grpo, ...}`, that defines two
classes.

`Config` holds its settings and states its `Facts`: which rows it reads, which roles it needs, what it makes. A run is
planned, seated and checked by these alone, so nothing is built to ask. `Method` has two verbs: `collect` touches only
sampling and frozen roles, `learn` only trainable ones.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from rlsys.config.base import Model
from rlsys.config.experiment import Experiment
from rlsys.data.stream import Source
from rlsys.judging.asking.constitution import Use
from rlsys.judging.asking.questions import Kind
from rlsys.objectives.stats import Stats
from rlsys.registry import resolve
from rlsys.roles import Roles
from rlsys.samples import Sample, ScoredGroup

PACKAGE = "rlsys.methods"
RowKind = Literal["prompts", "demonstrations", "comparisons", "texts", "answered", "labelled", "tasks", "raw"]
Made = Literal["model", "reward model", "data set", "measurements"]
SAMPLED: tuple[RowKind, ...] = ("prompts", "tasks", "answered")
"""Rows that hold prompts to sample from."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What follows from a method's settings."""

    rows: RowKind
    """What the stream yields."""
    needs: frozenset[str]
    """Names of the roles that it uses: fields of `Roles`."""
    makes: Made = "model"
    """What the run leaves for a later stage of a recipe."""
    updates_per_step: int = 1
    """Optimizer steps of one training step; learning-rate schedules are laid out over all of them."""
    rows_per_step: int | None = None
    """Rows that a step takes at once, so that a data set of fewer is refused before anything starts; None: it does not
    say."""
    samples_per_prompt: int | None = None
    """Samples of one prompt that it takes in one group; None: it does not say."""
    rows_together: int = 1
    """Sequences that a micro-batch must have room for, because the loss compares them."""
    measures: bool = False
    """Whether it measures itself on held-out rows of its own kind (`Measures`)."""
    heads: int = 1
    """Of the reward model that it trains."""
    asks: frozenset[Kind] | None = None
    """Kinds of questions that it puts to the judge by itself; None: it does not say."""
    principles_for: frozenset[Use] = frozenset()
    """The judge's constitution must have some that are for this."""
    of_files: bool = False
    """Whether it makes its model of the files of others (`MakesOfFiles`): no rows, no steps, no loop."""
    scores_texts: bool = False
    """Whether rewards score texts that no policy sampled: these have no tokens, so only rewards that read text can."""

    @property
    def samples(self) -> bool:
        """Whether the policy samples."""
        return "rollout" in self.needs

    @property
    def trains(self) -> bool:
        return bool(self.needs & {"policy", "reward_model"})

    @property
    def by_answers(self) -> bool:
        """Whether it is evaluated by its samples' scores; one that measures itself is so only where its rows hold
        prompts."""
        return self.needs >= {"rollout", "reward"} and (self.rows == "answered" or not self.measures)


class MethodConfig(Model):
    """The base of every method's `Config`."""

    name: str
    """Name of the method: a file of rlsys/methods, or the dotted path of your own module."""

    @property
    @abstractmethod
    def facts(self) -> Facts: ...


class History(Protocol):
    """What the run wrote down in earlier steps. A resumed run finds the same."""

    def samples(self, step: int) -> list[Sample]:
        """What was sampled to learn from in that step, in the order of its groups."""
        ...

    def rows(self) -> Sequence[dict[str, Any]]:
        """The data set that the run has made so far: each row with the `step` that made it."""
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """Where the run is: `number` counts from 1, `version` is the policy version that samplers hold, `seed` the run's,
    `memory` what the method chose to remember in the step before (`Learned.memory`), `history` what the run wrote down
    until then (None: no run, as in a unit test)."""

    number: int
    version: int
    seed: int
    memory: Mapping[str, float] = field(default_factory=dict)
    history: History | None = None


@dataclass(frozen=True)
class Experience:
    """What `collect` hands to `learn`. Methods subclass it with what they need."""

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

    def made(self) -> Iterable[dict[str, Any]]:
        """`rows`; a method that makes more than there is memory for yields them one by one."""
        return self.rows


@dataclass(frozen=True, slots=True)
class Learned:
    """What `learn` did."""

    stats: Stats
    advantages: Mapping[str, float | None] = field(default_factory=dict)
    """Advantage by sample id, of the samples that were trained on; None where the loss knows none."""
    memory: dict[str, float] = field(default_factory=dict)
    """What the method must know in the next step, also after a resume."""
    done: str | None = None
    """Why the run ends here, before loop.steps; None: it goes on."""


class MakesOfFiles(Protocol):
    """A method whose `facts.of_files`: it has this verb alone."""

    def make(
        self,
        experiment: Experiment,
        at: Callable[[str], Path],
        folder: Path,
        measure: Callable[[Path, str], float],
    ) -> None:
        """Write a model into a new `folder`. `at`: where the model of a path lies; `measure`: the held-out score of the
        model in a folder, which the text names."""
        ...


class Method(Protocol):
    """Built as `Method(config, sampling, pad_id)`. It holds no state: what a resumed run needs lives in the roles, the
    stream and `Step.memory`."""

    @property
    def config(self) -> MethodConfig: ...

    def collect(self, roles: Roles, source: Source, step: Step) -> Experience: ...

    def learn(self, roles: Roles, experience: Experience, step: Step) -> Learned: ...


@runtime_checkable
class Measures(Protocol):
    """A method that measures itself on held-out rows of its own kind, instead of by sampling answers to held-out
    prompts."""

    def measure(self, roles: Roles, rows: Sequence[Any]) -> Measured: ...


@dataclass(frozen=True, slots=True)
class Measured:
    """`metrics` by name; `score`: the higher, the better the model."""

    metrics: dict[str, float]
    score: float


def build_method(experiment: Experiment, pad_id: int) -> Method:
    """The experiment's method."""
    return resolve(PACKAGE, experiment.method.name, "Method")(experiment.method, experiment.sampling, pad_id)
