"""One rank of the trainer: DeepSpeed ZeRO 0 to 3 around a Hugging Face model. No Ray in here; all ranks call the same
methods in step."""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

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
from rlsys.batch import Batch
from rlsys.config.actors import ModelConfig, PolicyConfig
from rlsys.errors import CheckpointError
from rlsys.models.adapters.base import optimizer_groups
from rlsys.models.adapters.shared.files import ADAPTER, write_adapter
from rlsys.models.adapters.shared.put import put_adapter
from rlsys.models.export import write_model
from rlsys.models.forward import Scorer, ValueScorer, last_scores, log_probs, micro_batch, values
from rlsys.models.load import choose_attention, load_causal_lm
from rlsys.models.value_model import load_value_model
from rlsys.objectives.stats import Max, Mean, Stats, merge
from rlsys.roles import BatchT, Loss

if not torch.cuda.is_available():
    os.environ["DS_ACCELERATOR"] = "cpu"  # else DeepSpeed guesses, and warns
import deepspeed
import deepspeed.ops

from actors.engines.deepspeed_files import Files, read

# An all-reduce through shared memory that DeepSpeed would compile at its first start, for a minute; gloo does the same
# work.
deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
# DeepSpeed calls what this torch deprecates; there is nothing in it for a user.
warnings.filterwarnings("ignore", message=r"`torch\.distributed\.\w+` is deprecated", category=FutureWarning)

GATHER_BYTES = 256 * 2**20
"""ZeRO-3 gathers about so much of the weights at a time."""
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
        self.shapes = {name: tuple(p.shape) for name, p in network.named_parameters()}
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
        self, batch: BatchT, micro_batches: Sequence[Sequence[int]], loss: Loss[BatchT], normalizer: float
    ) -> Stats:
        """Add this rank's part of the gradient of loss_sum / normalizer. Every rank must be given the same number of
        micro-batches."""
        self.engine.train()
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
        """A gradient that is not finite on any rank is dropped on all: weights, optimizer and schedule stay as they
        are."""
        # After the step the schedule writes the next one's rate, from the peak and not from this one.
        rates = [group["lr"] for group in self.engine.optimizer.param_groups]
        for group in self.engine.optimizer.param_groups:
            group["lr"] *= scale
        learning_rate = self.engine.get_lr()[0]
        self.steps += 1
        if self.config.zero_stage == 0:
            grad_norm = self._reduce()
            if math.isfinite(grad_norm):
                self.engine.step()
            else:
                self.engine.zero_grad()
                self.engine.optimizer.zero_grad()
        else:
            self.engine.step()
            grad_norm = float(self.engine.get_global_grad_norm())
        # ZeRO skips the update and gives inf or -1 where the gradient holds an inf or a NaN.
        if not math.isfinite(grad_norm) or grad_norm < 0:
            for group, rate in zip(self.engine.optimizer.param_groups, rates, strict=True):
                group["lr"] = rate
            return {"updates_skipped": Mean(1.0, 1.0), "learning_rate": Mean(learning_rate, 1.0)}
        return {
            "updates_skipped": Mean(0.0, 1.0),
            "grad_norm": Mean(grad_norm, 1.0),
            "grad_norm_max": Max(grad_norm),
            "learning_rate": Mean(learning_rate, 1.0),
        }

    def _reduce(self) -> float:
        """ZeRO 0 does not tell the gradient's norm, so average over the ranks here, and compute it."""
        self.engine.set_gradient_accumulation_boundary(True)
        self.engine.allreduce_gradients()
        return float(nn.utils.get_total_norm([p.grad for p in self.scorer.parameters() if p.grad is not None]))

    def named_weights(self) -> Iterator[tuple[str, Tensor]]:
        """All weights of the model that a sampler needs, in `weight_metadata`'s order, adapters merged, on this rank's
        device.

        Collective: all ranks go through it in step. A tensor is valid until the next one is asked for.
        """
        for name, parameter in self._whole(self._delivered()):
            yield self._delivered()[name], self.adapter.merged(name, parameter.detach())

    def weight_metadata(self) -> list[tuple[str, torch.dtype, tuple[int, ...]]]:
        """Name, dtype and shape of what `named_weights` gives; local."""
        return [(sent_as, self.dtype, self.shapes[name]) for name, sent_as in self._delivered().items()]

    def _delivered(self) -> dict[str, str]:
        """The parameters that a model without adapter has, with their names there."""
        named = ((name, self.adapter.delivered_as(name)) for name in self.shapes)
        return {name: sent_as for name, sent_as in named if sent_as is not None}

    def _whole(self, names: Iterable[str]) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters, each with what the adapter merges into it, gathered a group at a time where ranks share
        them."""
        parameters = dict(self.scorer.model.named_parameters())
        group: list[str] = []
        size = 0
        for name in names:
            group.append(name)
            size += math.prod(self.shapes[name]) * self.dtype.itemsize
            if size >= GATHER_BYTES:
                yield from self._gathered(group, parameters)
                group, size = [], 0
        yield from self._gathered(group, parameters)

    def _gathered(self, group: list[str], parameters: dict[str, nn.Parameter]) -> Iterator[tuple[str, nn.Parameter]]:
        parts = [part for name in group for part in self.adapter.parts(name)]
        own = [parameters[name] for name in group]
        with deepspeed.zero.GatheredParameters(own + parts) if self.config.zero_stage == 3 else nullcontext():
            yield from zip(group, own, strict=True)

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
            own = {name: p.detach().cpu().clone() for name, p in self._whole(self.adapter.saved()) if writes}
            if writes:
                write_adapter(self.adapter, folder / ADAPTER, own, self.model_path)

    def _buffers(self) -> dict[str, Tensor]:
        """What a model keeps beside its weights (few do), and training leaves alone. No adapter wraps one."""
        kept = self.scorer.model.state_dict().keys()
        return {name: buffer.cpu() for name, buffer in self.scorer.model.named_buffers() if name in kept}
