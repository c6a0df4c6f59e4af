"""One rank of a trained model, as a Ray actor: the policy, or with a scalar head the critic or a reward model in
training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray.util
from torch import Tensor

from rlsys.batch import Batch
from rlsys.config.actors import ModelConfig, PolicyConfig
from rlsys.config.ewc import EwcConfig
from rlsys.objectives.stats import Stats
from rlsys.roles import BatchT, Loss

if TYPE_CHECKING:
    from actors.engines.deepspeed_engine import TrainEngine
    from actors.weight_sync.sender import Sender, SendPlan, Sent


class TrainerActor:
    """Made light; `rendezvous` (rank 0) and then `start` (all ranks at the same time) make it ready.

    `model_path` is what `local_path` gave for `model.path`, `total_steps` the length of the learning-rate schedule in
    optimizer steps, `timeout` the longest wait of one rank for the others, in seconds. `heads`: outputs of a scalar
    head; none for a language model.
    """

    def __init__(
        self,
        model: ModelConfig,
        config: PolicyConfig,
        model_path: Path,
        total_steps: int,
        seed: int,
        heads: int | None,
        rank: int,
        timeout: float,
        ewc: EwcConfig | None = None,
    ) -> None:
        self.ewc = ewc
        self.model, self.config, self.model_path, self.total_steps = model, config, model_path, total_steps
        self.seed, self.heads, self.rank, self.timeout = seed, heads, rank, timeout
        self._engine: TrainEngine | None = None
        self._sender: Sender | None = None

    @property
    def engine(self) -> TrainEngine:
        assert self._engine is not None, "start comes first"
        return self._engine

    def host(self) -> str:
        """Address of this rank's machine."""
        return ray.util.get_node_ip_address()

    def rendezvous(self, alone: bool) -> str:
        """Open the ranks' meeting point on this host, for itself where all ranks are here (`alone`); returns its
        host:port."""
        from actors.engines.deepspeed_setup import LOOPBACK, open_store

        host = LOOPBACK if alone else self.host()
        self._store = open_store(host, self.config.ranks, self.timeout)
        return f"{host}:{self._store.port}"

    def start(self, address: str) -> bool:
        """Load the model and meet the other ranks. Returns whether the engine packs rows, which the plan of
        micro-batches needs to know."""
        # DeepSpeed takes seconds to import, and the driver never needs it.
        from actors.engines.deepspeed_engine import TrainEngine
        from actors.engines.deepspeed_setup import LOOPBACK, World

        own = LOOPBACK if address.startswith(f"{LOOPBACK}:") else self.host()
        world = World(self.rank, self.config.ranks, address, self.timeout, own)
        self._engine = TrainEngine(
            self.model, self.config, self.model_path, self.total_steps, self.seed, world, self.heads, self.ewc
        )
        return self._engine.packed

    def sees(self, file: Path) -> bool:
        return file.exists()

    def log_probs(self, batch: Batch, micro_batches: Sequence[Sequence[int]], temperature: float) -> Tensor:
        return self.engine.log_probs(batch, micro_batches, temperature)

    def base_log_probs(self, batch: Batch, micro_batches: Sequence[Sequence[int]], temperature: float) -> Tensor:
        """Of the model without its adapter."""
        with self.engine.adapter.disabled():
            return self.engine.log_probs(batch, micro_batches, temperature)

    def values(self, batch: Batch, micro_batches: Sequence[Sequence[int]]) -> Tensor:
        return self.engine.values(batch, micro_batches)

    def scores(self, batch: Batch, micro_batches: Sequence[Sequence[int]]) -> Tensor | None:
        return self.engine.scores(batch, micro_batches)

    def forward_backward(
        self, batch: BatchT, micro_batches: Sequence[Sequence[int]], loss: Loss[BatchT], normalizer: float
    ) -> Stats:
        return self.engine.forward_backward(batch, micro_batches, loss, normalizer)

    def evaluate(self, batch: BatchT, micro_batches: Sequence[Sequence[int]], loss: Loss[BatchT]) -> Stats:
        return self.engine.evaluate(batch, micro_batches, loss)

    def optimizer_step(self, scale: float = 1.0) -> Stats:
        return self.engine.optimizer_step(scale)

    def add_fisher(self, batch: Batch) -> None:
        self.engine.add_fisher(batch)

    def save_state(self, folder: Path) -> None:
        self.engine.save_state(folder)

    def load_state(self, folder: Path) -> None:
        self.engine.load_state(folder)

    def export(self, folder: Path) -> None:
        self.engine.export(folder)

    def weight_hash(self) -> str:
        return self.engine.weight_hash()

    def open_sender(self, samplers: Sequence[Any], plan: SendPlan) -> None:
        """Open this rank's end of the weight transfer to the sampling engines."""
        from actors.weight_sync.sender import Samplers, Sender

        if self._sender is not None:
            self._sender.close()
            self._sender = None
        host = ray.util.get_node_ip_address()
        self._sender = Sender(self.engine, Samplers(samplers, plan.timeout), plan, self.rank, host, self.engine.device)

    def send_weights(self, version: int, with_base: bool) -> Sent:
        """All ranks at the same time."""
        assert self._sender is not None, "open_sender comes first"
        return self._sender.send(version, with_base)
