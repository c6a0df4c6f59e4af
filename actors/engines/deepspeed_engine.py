"""One rank of the trainer: DeepSpeed ZeRO 0 to 3 around a Hugging Face model. No Ray in here; all ranks call the same
methods in step."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from actors.engines.deepspeed_setup import (
    World,
    check,
    deepspeed_config,
    join,
    obey_learning_rates,
    random_state,
    schedule,
    seed_everything,
    set_random_state,
)
from actors.engines.deepspeed_weights import Weights
from actors.engines.ewc import Ewc
from actors.weight_sync.records import Content
from rlsys.batch import Batch
from rlsys.config.actors import ModelConfig, PolicyConfig
from rlsys.config.ewc import EwcConfig
from rlsys.errors import CheckpointError
from rlsys.models.adapters.base import Merge, optimizer_groups
from rlsys.models.adapters.shared.files import ADAPTER, write_adapter
from rlsys.models.adapters.shared.put import put_adapter
from rlsys.models.export import write_model
from rlsys.models.forward import Scorer, ValueScorer, last_scores, log_probs, micro_batch, values
from rlsys.models.load import choose_attention, load_causal_lm
from rlsys.models.value_model import load_value_model
from rlsys.objectives.likelihood_loss import CrossEntropyLoss
from rlsys.objectives.stats import Stats, merge
from rlsys.roles import BatchT, Loss

if not torch.cuda.is_available():
    os.environ["DS_ACCELERATOR"] = "cpu"  # else DeepSpeed guesses, and warns
import deepspeed
import deepspeed.ops

from actors.engines.deepspeed_files import Files, read
from actors.engines.deepspeed_pieces import pieces
from actors.engines.deepspeed_step import OptimizerStep

# An all-reduce through shared memory that DeepSpeed would compile at its first start, for a minute; gloo does the same
# work.
deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
# DeepSpeed calls what this torch deprecates; there is nothing in it for a user.
warnings.filterwarnings("ignore", message=r"`torch\.distributed\.\w+` is deprecated", category=FutureWarning)

TAG = "trainer"


class TrainEngine:
    """See `roles.Policy` for what the methods mean; here each is one rank's part.

    `model_path` is what `local_path` gave for `model.path`; `total_steps` is the length of the learning-rate schedule,
    in optimizer steps. `heads`: outputs of a scalar head, for a critic or a reward model; none for a language model.
    """

    def __init__(
        self,
        model: ModelConfig,
        config: PolicyConfig,
        model_path: Path,
        total_steps: int,
        seed: int,
        world: World,
        heads: int | None = None,
        ewc: EwcConfig | None = None,
    ) -> None:
        check(config, torch.cuda.is_available())
        torch.set_num_threads(config.threads)
        self.config, self.world, self.model_path = config, world, model_path
        self.device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
        self.dtype = getattr(torch, model.dtype)
        self.steps = 0
        join(world, self.device)
        seed_everything(seed)  # adapters start equal on all ranks
        attention = choose_attention(model.attention, self.device.type == "cuda", self.dtype)
        self.heads = heads
        if heads is None:
            network = load_causal_lm(model_path, self.dtype, attention)
        else:
            network = load_value_model(model_path, self.dtype, attention, heads, seed)
        self.architecture = type(network).__name__
        self.adapter = put_adapter(network, model.adapter, model_path)
        if model.gradient_checkpointing:
            network.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        packs = config.packing == "auto" and attention == "flash_attention_2" and self.adapter.packs
        packed = config.packing == "packed" or packs
        self.scorer = Scorer(network, packed) if heads is None else ValueScorer(network, packed)
        gather = deepspeed.zero.GatheredParameters if config.zero_stage == 3 else nullcontext
        self.weights = Weights(self.adapter, self.dtype, gather)
        self.engine: Any
        self.engine, *_ = deepspeed.initialize(
            model=self.scorer,
            optimizer=self._optimizer(),
            lr_scheduler=schedule(config, total_steps),
            config=deepspeed_config(config, self.dtype, world.size),
        )
        if config.zero_stage == 3:
            for module, parameter in self.adapter.borrowed():
                deepspeed.zero.register_external_parameter(module, parameter)
        self.files = self.engine.checkpoint_engine = Files()
        self.step = OptimizerStep(self.engine, self.scorer, config.zero_stage)
        trained = {name: self.weights.shapes[name] for name, p in network.named_parameters() if p.requires_grad}
        self.ewc = Ewc(pieces(network, config.zero_stage, world.rank), trained, ewc, config.zero_stage > 0, self.device)
        seed_everything(seed + world.rank)  # what they drop differs

    def _optimizer(self) -> torch.optim.Optimizer:
        groups = optimizer_groups(self.adapter, self.config.learning_rate, self.config.weight_decay)
        if self.config.optimizer == "rmsprop":
            return torch.optim.RMSprop(groups, lr=self.config.learning_rate)
        return torch.optim.AdamW(groups, lr=self.config.learning_rate, betas=self.config.betas, fused=True)

    @property
    def packed(self) -> bool:
        return self.scorer.packed

    def log_probs(self, batch: Batch, micro_batches: Sequence[Sequence[int]], temperature: float) -> Tensor:
        """See `forward.log_probs`. Every rank must be given the same number of micro-batches."""
        self.engine.eval()
        return log_probs(self.engine, batch, micro_batches, temperature, self.device)

    def values(self, batch: Batch, micro_batches: Sequence[Sequence[int]]) -> Tensor:
        """See `forward.values`."""
        self.engine.eval()
        return values(self.engine, batch, micro_batches, self.device)

    def scores(self, batch: Batch, micro_batches: Sequence[Sequence[int]]) -> Tensor | None:
        """See `forward.last_scores`."""
        self.engine.eval()
        return last_scores(self.engine, batch, micro_batches, self.device)

    def forward_backward(
        self,
        batch: BatchT,
        micro_batches: Sequence[Sequence[int]],
        loss: Loss[BatchT],
        normalizer: float,
        dropout: bool = True,
    ) -> Stats:
        """Add this rank's part of the gradient of loss_sum / normalizer. Every rank must be given the same number of
        micro-batches."""
        self.engine.train(dropout)
        if self.config.zero_stage == 0:
            self.engine.set_gradient_accumulation_boundary(False)
        parts: list[Stats] = []
        for rows in micro_batches:
            chosen = micro_batch(batch, rows, self.device)
            answer = self.engine(chosen, *self.scorer.asked(loss))
            # ZeRO-3 counts the outputs that a gradient comes back to, and ranks must agree: all of them, whatever the
            # loss reads.
            loss_sum = 0 * sum(output.sum() for output in answer if output is not None)
            if rows:
                own, stats = loss(self.scorer.outputs(*answer), chosen)
                loss_sum = loss_sum + own
                parts.append(stats)
            # DeepSpeed averages over the ranks; what we want is the sum.
            self.engine.backward(loss_sum * (self.world.size / normalizer))
        return merge(parts)

    @torch.no_grad()
    def evaluate(self, batch: BatchT, micro_batches: Sequence[Sequence[int]], loss: Loss[BatchT]) -> Stats:
        """Statistics only. Every rank must be given the same number of micro-batches."""
        self.engine.eval()
        parts: list[Stats] = []
        for rows in micro_batches:
            chosen = micro_batch(batch, rows, self.device)
            answer = self.engine(chosen, *self.scorer.asked(loss))
            if rows:
                parts.append(loss(self.scorer.outputs(*answer), chosen)[1])
        return merge(parts)

    def optimizer_step(self, scale: float = 1.0) -> Stats:
        """See `OptimizerStep`."""
        self.steps += 1
        return self.ewc.stats() | self.step(scale, self.ewc.change)

    def add_fisher(self, batch: Batch) -> None:
        """Add each row to the Fisher information that `export` writes. All ranks take the same row at a time: only so
        is a gradient that they have reduced one row's."""
        for row in range(len(batch)):
            self.forward_backward(batch, [[row]], CrossEntropyLoss(), self.world.size, dropout=False)
            self.step(change=self.ewc.add_row)

    def named_weights(self, content: Content = "merged") -> Iterator[tuple[str, Tensor]]:
        """See `Weights.named`. Collective."""
        return self.weights.named(content)

    def weight_metadata(self, content: Content = "merged") -> list[tuple[str, torch.dtype, tuple[int, ...]]]:
        return self.weights.metadata(content)

    def merges(self) -> dict[str, Merge]:
        return self.weights.merges()

    def weight_hash(self) -> str:
        """BLAKE2b over names and bytes of all weights; the same on all ranks."""
        digest = hashlib.blake2b(digest_size=16)
        for name, tensor in self.named_weights():
            digest.update(name.encode())
            digest.update(tensor.contiguous().cpu().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def save_state(self, folder: Path) -> None:
        """Collective; `folder` must be the same one, on storage that all ranks share. Raises CheckpointError, on all
        ranks, if any of them can't write."""
        self.files.makedirs(str(folder / TAG), exist_ok=True)
        self.files.agree(folder)
        self.engine.save_checkpoint(str(folder), tag=TAG, client_state={"steps": self.steps}, save_latest=False)
        self.files.save(random_state(), str(folder / TAG / f"random-{self.world.rank}.pt"))
        self.files.agree(folder)

    def load_state(self, folder: Path) -> None:
        """Collective. Raises CheckpointError if `folder` holds no state of so many ranks, or anything that could
        execute. A learning rate that was changed since is obeyed."""
        random_file = folder / TAG / f"random-{self.world.rank}.pt"
        if not random_file.is_file() or (folder / TAG / f"random-{self.world.size}.pt").exists():
            raise CheckpointError(
                f"{folder}: holds no trainer state of {self.world.size} ranks; go on with as many as it was saved by"
            )
        random = read(random_file)
        peaks = list(self.engine.lr_scheduler.base_lrs)
        _, client_state = self.engine.load_checkpoint(str(folder), tag=TAG)
        self.steps = client_state["steps"]
        obey_learning_rates(self.engine.lr_scheduler, peaks)
        set_random_state(random)

    def export(self, folder: Path) -> None:
        """Collective; rank 0 writes: the merged model, the adapter in a folder of it, or both (`adapter.exports`)."""
        writes = self.world.rank == 0
        if self.adapter.exports != "adapter":
            weights = {name: tensor.cpu().clone() for name, tensor in self.named_weights() if writes}
            if writes:
                weights |= self._buffers()
                write_model(folder, self.model_path, self.dtype, weights, self.architecture, self.heads)
        if self.adapter.exports != "merged":
            own = {name: p.detach().cpu().clone() for name, p in self.weights.whole(self.adapter.saved()) if writes}
            if writes:
                write_adapter(self.adapter, folder / ADAPTER, own, self.model_path)
        self.ewc.write(folder, writes)

    def _buffers(self) -> dict[str, Tensor]:
        """What a model keeps beside its weights (few do), and training leaves alone. No adapter wraps one."""
        kept = self.scorer.model.state_dict().keys()
        return {name: buffer.cpu() for name, buffer in self.scorer.model.named_buffers() if name in kept}
