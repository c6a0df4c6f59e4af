"""Several ranks as one typed handle. The driver puts a batch into the object store once, and every rank picks its
rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import ray
import torch
from torch import Tensor

from actors.wait import fetch
from rlsys.batch import Batch, DistillationBatch
from rlsys.errors import ActorError
from rlsys.models.micro_batches import MicroBatches, micro_batches
from rlsys.models.version import OF_TOKENS, version_of
from rlsys.objectives.stats import Stats, merge
from rlsys.roles import BatchT, LikelihoodLoss, Loss


class RankGroup:
    """Ray handles of the ranks in order, and the longest wait (seconds) for any one answer. Call `start` before
    anything else."""

    def __init__(self, role: str, actors: Sequence[Any], token_budget: int, timeout: float) -> None:
        """`role` is for messages."""
        self.role, self.actors, self.token_budget, self.timeout = role, list(actors), token_budget, timeout
        self.packed: bool | None = None
        self.order = Lock()
        """Two threads' calls reach all ranks in one order: ranks wait for each other within a call."""

    def call(self, method: str, *arguments: Any) -> list[Any]:
        """Call a method on all ranks at the same time; their answers in order."""
        return self.call_each(method, [arguments] * len(self.actors))

    def call_each(self, method: str, arguments: Sequence[tuple[Any, ...]], timeout: float | None = None) -> list[Any]:
        """The same with each rank's own arguments."""
        with self.order:
            refs = [getattr(actor, method).remote(*own) for actor, own in zip(self.actors, arguments, strict=True)]
        return fetch(refs, f"{method} of the {self.role} ({len(refs)} ranks)", timeout or self.timeout)

    def micro_batches(self, batch: Batch) -> MicroBatches:
        assert self.packed is not None, "start comes first"
        return micro_batches(batch.lengths_B.tolist(), len(self.actors), self.token_budget, self.packed, batch.units())

    def gather(self, method: str, batch: Batch, *arguments: Any) -> Tensor:
        """One result per row, [B, ...] in the batch's row order, from the ranks' shares. A rank without rows answers
        with none of them."""
        parts, order = self.ask(method, batch, *arguments)
        return in_order(parts, order)

    def ask(self, method: str, batch: Batch, *arguments: Any) -> tuple[list[Any], list[int]]:
        """The answers of those ranks that had rows, and the rows that they are about."""
        rank_plans = self.micro_batches(batch)
        shared = ray.put(batch)
        parts = self.call_each(method, [(shared, own, *arguments) for own in rank_plans])
        return [part for part in parts if part is not None], [row for own in rank_plans for rows in own for row in rows]


def in_order(parts: Sequence[Tensor], order: Sequence[int]) -> Tensor:
    """[B, ...] of the ranks' parts, whose rows are those that `order` names."""
    rows = torch.cat(list(parts))
    result = torch.empty_like(rows)
    result[list(order)] = rows
    return result


class TrainerGroup(RankGroup):
    """`roles.Trained` over `TrainerActor`s."""

    def start(self, timeout: float) -> None:
        """Load the model on all ranks, within `timeout` seconds."""
        hosts = set(self.call_each("host", [()] * len(self.actors), timeout))
        address = fetch(
            self.actors[0].rendezvous.remote(len(hosts) == 1),
            f"the {self.role}'s first rank to open its meeting point",
            timeout,
        )
        self.packed = self.call_each("start", [(address,)] * len(self.actors), timeout)[0]

    def forward_backward(self, batch: BatchT, loss: Loss[BatchT]) -> Stats:
        shared, normalizer = ray.put(batch), loss.normalizer(batch)
        return merge(
            self.call_each("forward_backward", [(shared, own, loss, normalizer) for own in self.micro_batches(batch)])
        )

    def optimizer_step(self, scale: float = 1.0) -> Stats:
        return self.call("optimizer_step", scale)[0]

    def save_state(self, folder: Path) -> None:
        self.call("save_state", folder)

    def load_state(self, folder: Path) -> None:
        self.call("load_state", folder)

    def export(self, folder: Path) -> None:
        self.call("export", folder)

    def weight_hash(self) -> str:
        """Raises ActorError if the ranks do not all hold the same weights."""
        hashes = self.call("weight_hash")
        if len(set(hashes)) > 1:
            raise ActorError(f"the {self.role}'s ranks hold different weights: {', '.join(hashes)}")
        return hashes[0]


class PolicyGroup(TrainerGroup):
    """`roles.Policy`."""

    def log_probs(self, batch: Batch, temperature: float) -> Tensor:
        return self.gather("log_probs", batch, temperature)

    def evaluate(self, batch: BatchT, loss: LikelihoodLoss[BatchT]) -> Stats:
        shared = ray.put(batch)
        return merge(self.call_each("evaluate", [(shared, own, loss) for own in self.micro_batches(batch)]))

    def add_fisher(self, batch: Batch) -> None:
        self.call("add_fisher", ray.put(batch))


class SharedReference:
    """`roles.Reference` by the policy's own ranks, with the adapter switched off: `model`, the base, without a second
    copy of it."""

    def __init__(self, policy: PolicyGroup, model: Path) -> None:
        self.policy, self.model = policy, model

    @cached_property
    def identity(self) -> str:
        return version_of(self.model, OF_TOKENS)

    def log_probs(self, batch: Batch, temperature: float) -> Tensor:
        return self.policy.gather("base_log_probs", batch, temperature)


class CriticGroup(TrainerGroup):
    """`roles.Critic`."""

    def values(self, batch: Batch) -> Tensor:
        return self.gather("values", batch)

    def scores(self, batch: Batch) -> Tensor:
        return self.gather("scores", batch)


class FrozenGroup(RankGroup):
    """Replicas of a frozen model that split the rows."""

    def start(self, timeout: float) -> None:
        """Load the model on all ranks, within `timeout` seconds."""
        self.packed = self.call_each("start", [()] * len(self.actors), timeout)[0]


class ReferenceGroup(FrozenGroup):
    """`roles.Reference` over `FrozenActor`s of the model that `local_path` gave."""

    def __init__(self, actors: Sequence[Any], token_budget: int, timeout: float, model: Path) -> None:
        super().__init__("reference", actors, token_budget, timeout)
        self.model = model

    @cached_property
    def identity(self) -> str:
        return version_of(self.model, OF_TOKENS)

    def log_probs(self, batch: Batch, temperature: float) -> Tensor:
        return self.gather("log_probs", batch, temperature)


class TeacherGroup(FrozenGroup):
    """`roles.Teacher` over `FrozenActor`s. It names `top_k` (0: all) tokens among those below `vocabulary`, which are
    the ones that a student has."""

    def __init__(self, actors: Sequence[Any], token_budget: int, timeout: float, top_k: int, vocabulary: int) -> None:
        super().__init__("teacher", actors, token_budget, timeout)
        self.top_k, self.vocabulary = top_k, vocabulary

    def teach(self, batch: Batch, temperature: float) -> DistillationBatch:
        parts, order = self.ask("top_log_probs", batch, self.top_k, self.vocabulary, temperature)
        choices, log_probs = (in_order(column, order) for column in zip(*parts, strict=True))
        return DistillationBatch(batch.token_ids_BT, batch.loss_mask_BT, batch.lengths_B, choices, log_probs)


class RewardModelGroup(FrozenGroup):
    """`roles.ScoreModel` over `FrozenActor`s with a scalar head, or over `SharedBaseActor`s as one of their models."""

    def __init__(
        self, role: str, actors: Sequence[Any], token_budget: int, timeout: float, *, among_others: bool = False
    ) -> None:
        super().__init__(role, actors, token_budget, timeout)
        self.name = (role,) if among_others else ()

    def scores(self, batch: Batch) -> Tensor:
        return self.gather("scores", batch, *self.name)
