"""What a loop may ask of the models. Loops see only these Protocols: real Ray actors implement them in `actors/`, small fakes in unit tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from torch import Tensor

from rlsys.batch import Batch, Group, Prompt, ScoredGroup
from rlsys.objectives.outputs import Outputs
from rlsys.objectives.stats import Stats

BatchT = TypeVar("BatchT", bound=Batch)
BatchT_contra = TypeVar("BatchT_contra", bound=Batch, contravariant=True)


class Loss(Protocol[BatchT_contra]):
    """A frozen dataclass: pure, pickled to the ranks. Sums, never means: the engine divides by the *global* normalizer, so that the loss is the
    same under any micro-batch, accumulation, packing or data-parallel split."""

    @property
    def temperature(self) -> float:
        """Log-probs are taken at this temperature."""
        ...

    @property
    def needs_entropy(self) -> bool: ...

    def normalizer(self, batch: BatchT_contra) -> float:
        """What the summed loss of the whole (mini-)batch is divided by: tokens, sequences, ... Called by the driver."""
        ...

    def __call__(self, outputs: Outputs, batch: BatchT_contra) -> tuple[Tensor, Stats]:
        """Summed loss (a scalar) and statistics of some rows."""
        ...


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample. `max_tokens` bounds the response. temperature 0 is greedy."""

    temperature: float
    top_p: float
    top_k: int
    max_tokens: int
    n: int
    """Samples per prompt."""


@dataclass(frozen=True, slots=True)
class SyncReport:
    """One weight sync: proven or raised."""

    version: int
    bytes: int
    tensors: int
    seconds: float
    probe_gap: float
    """Largest |trainer - sampler| log-prob on the probe prompt, nats."""


class Policy(Protocol):
    """The trained model."""

    def log_probs(self, batch: Batch, temperature: float) -> Tensor:
        """float32 [B, T] of the current weights, 0 outside the loss mask. No gradient."""
        ...

    def forward_backward(self, batch: BatchT, loss: Loss[BatchT]) -> Stats:
        """Accumulate the gradient of `loss` over the whole batch. Micro-batches and ranks are the engine's business."""
        ...

    def optimizer_step(self) -> Stats:
        """Clip, step, advance the schedule, zero the gradients. Returns `grad_norm` (before clipping) and `learning_rate` (used)."""
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


class Rollout(Protocol):
    """The sampler."""

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling, tag: str) -> Iterator[Group]:
        """Stream whole groups as they finish. Seeds come from (run seed, tag, prompt id, epoch, sample index), never from the engine."""
        ...


class Reference(Protocol):
    """A frozen model."""

    def log_probs(self, batch: Batch, temperature: float) -> Tensor: ...


class Reward(Protocol):
    """Scores groups. Consumes the rollout's stream, so that scoring overlaps sampling."""

    def score(self, groups: Iterable[Group]) -> Iterator[ScoredGroup]: ...


class WeightSync(Protocol):
    """The only path from trainer to sampler."""

    def sync(self, version: int) -> SyncReport:
        """Send the policy's weights to every sampler as `version`, and prove that they arrived; raises otherwise."""
        ...


@dataclass(frozen=True)
class Roles:
    """The models of one run. A role that the algorithm does not need is None."""

    policy: Policy
    rollout: Rollout | None = None
    reference: Reference | None = None
    reward: Reward | None = None
    weight_sync: WeightSync | None = None
