"""What a loop may ask of the models. Loops see only these Protocols: real Ray actors implement them in `actors/`, small
fakes in unit tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from rlsys.batch import Batch, DistillationBatch
from rlsys.config.experiment import ClusterConfig, Experiment
from rlsys.config.judge import JudgeConfig
from rlsys.config.sampling import Sampling
from rlsys.judging.asking.constitution import Constitution
from rlsys.judging.asking.questions import Opinion, Pair, Single, Writing
from rlsys.objectives.stats import Stats
from rlsys.samples import Group, Prompt, ScoredGroup

if TYPE_CHECKING:
    from torch import Tensor

BatchT = TypeVar("BatchT", bound=Batch)
BatchT_contra = TypeVar("BatchT_contra", bound=Batch, contravariant=True)


class Loss(Protocol[BatchT_contra]):
    """A frozen dataclass: pure, pickled to the ranks. Sums, never means: the engine divides by the *global* normalizer,
    so that the loss is the same under any micro-batch, accumulation, packing or data-parallel split."""

    def normalizer(self, batch: BatchT_contra) -> float:
        """What the summed loss of the whole (mini-)batch is divided by: tokens, sequences, ... Called by the driver."""
        ...

    def __call__(self, outputs: Any, batch: BatchT_contra) -> tuple[Tensor, Stats]:
        """Summed loss (a scalar) and statistics of some rows. `outputs`: a language model's `Outputs`, a scalar-headed
        model's `ValueOutputs`."""
        ...


class LikelihoodLoss(Loss[BatchT_contra], Protocol):
    """A loss of a language model's log-probs."""

    @property
    def temperature(self) -> float:
        """Log-probs are taken at this temperature."""
        ...

    @property
    def needs_entropy(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class SyncReport:
    """One weight sync: proven or raised."""

    version: int
    bytes: int
    tensors: int
    seconds: float
    probe_gap: float
    """Largest |trainer - sampler| log-prob on the probe prompt, nats."""


class Trained(Protocol):
    """A model that learns."""

    def forward_backward(self, batch: BatchT, loss: Loss[BatchT]) -> Stats:
        """Accumulate the gradient of `loss` over the whole batch. Micro-batches and ranks are the engine's business."""
        ...

    def optimizer_step(self, scale: float = 1.0) -> Stats:
        """Clip, step at `scale` times the schedule's learning rate, advance the schedule, zero the gradients. Returns
        `grad_norm` (before clipping), `learning_rate` (used) and `updates_skipped`: 1 where the gradient was not finite
        and nothing but the gradients was changed, else 0."""
        ...

    def save_state(self, folder: Path) -> None:
        """Everything needed to go on exactly: weights, optimizer, schedule, random states, one file set per rank."""
        ...

    def load_state(self, folder: Path) -> None: ...

    def export(self, folder: Path) -> None:
        """A plain Hugging Face folder (weights, config, tokenizer), adapters merged."""
        ...

    def weight_hash(self) -> str:
        """Hash of all weights, for proofs of equality."""
        ...


class Policy(Trained, Protocol):
    """The trained language model. Its losses are `LikelihoodLoss`es."""

    def log_probs(self, batch: Batch, temperature: float) -> Tensor:
        """float32 [B, T] of the current weights, 0 outside the loss mask. No gradient."""
        ...

    def evaluate(self, batch: BatchT, loss: LikelihoodLoss[BatchT]) -> Stats:
        """The statistics that `forward_backward` would give. No gradient."""
        ...

    def add_fisher(self, batch: Batch) -> None:
        """Add, for each row, the squared gradient of the log-prob of all its trained tokens to the Fisher information
        that `export` will write, as a mean over rows. Weights and optimizer stay as they are."""
        ...


class ScoreModel(Protocol):
    """A model with a scalar head (a reward model), frozen or not."""

    def scores(self, batch: Batch) -> Tensor:
        """float32 [B, K] at each row's last token; K heads, 1 unless it is an ensemble. No gradient."""
        ...


class Critic(Trained, ScoreModel, Protocol):
    """A trained model with a scalar head: the critic of PPO, or a reward model in training. Its losses take
    `ValueOutputs`."""

    def values(self, batch: Batch) -> Tensor:
        """float32 [B, T]: the value of the state before each trained token, 0 outside the loss mask. No gradient."""
        ...


class Rollout(Protocol):
    """The sampler."""

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling, tag: str) -> Iterator[Group]:
        """Stream whole groups as they finish. Seeds come from (run seed, tag, prompt id, epoch, sample index), never
        from the engine."""
        ...


class Reference(Protocol):
    """A frozen model."""

    @property
    def identity(self) -> str:
        """Model and version."""
        ...

    def log_probs(self, batch: Batch, temperature: float) -> Tensor: ...


class Teacher(Protocol):
    """A frozen model that a student learns from."""

    def teach(self, batch: Batch, temperature: float) -> DistillationBatch:
        """The rows with its most likely tokens at each trained place, as many as it was told to name."""
        ...


class Reward(Protocol):
    """Scores groups. Consumes the rollout's stream, so that scoring overlaps sampling."""

    def score(self, groups: Iterable[Group]) -> Iterator[ScoredGroup]: ...


class Judge(Protocol):
    """A model that gives feedback. Batches in, as many opinions out, in order; what it can't say is an abstention.
    While it is away everything waits; JudgeOutage at its limit."""

    @property
    def identity(self) -> str:
        """Model and version."""
        ...

    @property
    def constitution(self) -> Constitution: ...

    def compare(self, pairs: Sequence[Pair]) -> list[Opinion]: ...

    def score(self, answers: Sequence[Single]) -> list[Opinion]:
        """From 0 (worst) to 1."""
        ...

    def rubric(self, answers: Sequence[Single]) -> list[Opinion]:
        """The weighted mean of several criteria, from 0 to 1; each is among the score's parts."""
        ...

    def critique(self, answers: Sequence[Single]) -> list[Writing]: ...

    def revise(self, answers: Sequence[Single]) -> list[Writing]:
        """Each with its critique."""
        ...


class WeightSync(Protocol):
    """The only path from trainer to sampler."""

    def sync(self, version: int) -> SyncReport:
        """Send the policy's weights to every sampler as `version`, and prove that they arrived; raises otherwise."""
        ...


@dataclass(frozen=True)
class Roles:
    """The models of one run. A role that the method does not need is None."""

    policy: Policy | None = None
    critic: Critic | None = None
    reward_model: Critic | None = None
    """A reward model in training; those that score samples are part of `reward`."""
    rollout: Rollout | None = None
    reference: Reference | None = None
    teacher: Teacher | None = None
    reward: Reward | None = None
    judge: Judge | None = None
    weight_sync: WeightSync | None = None
    mended: list[str] = field(default_factory=list)
    """What was done about actors that died, a line each; whoever tells it takes it out."""

    def trained(self) -> dict[str, Trained]:
        """What learns, by role."""
        found: dict[str, Trained | None] = {
            "policy": self.policy,
            "critic": self.critic,
            "reward_model": self.reward_model,
        }
        return {role: model for role, model in found.items() if model is not None}


@dataclass(frozen=True, slots=True)
class SpawnRequest:
    """What the roles of a run must be able to do."""

    needs: frozenset[str]
    """Roles to start."""
    model: Path
    """Local folder or hub id of the policy's starting weights."""
    optimizer_steps: int
    """Over the whole run, for the learning-rate schedule."""
    pad_id: int
    """Of the policy's tokenizer."""
    heads: int = 1
    """Of a reward model in training."""
    stop_ids: tuple[int, ...] = ()
    """Tokens that end a sample, beside those that the policy's tokenizer and generation config name."""


Spawn = Callable[[Experiment, SpawnRequest], AbstractContextManager[Roles]]
"""Starts the roles; closing the context stops them. `actors.spawn.spawn` is the one for Ray."""

SpawnJudge = Callable[[JudgeConfig, ClusterConfig, Path, int, float], AbstractContextManager[Judge]]
"""Starts a judge alone, of some settings, on a cluster, with its cache and made models in a folder, with a seed, and
with a limit in seconds for the answers to what it is asked at once. `actors.spawn_judge.spawn_judge` is the one for
Ray."""
