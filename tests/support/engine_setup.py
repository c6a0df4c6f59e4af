"""Real engines and a plain trainer for the tests that need them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
import torch
from ray import cloudpickle
from torch import Tensor
from transformers import AutoModelForCausalLM

from actors.engines.spec import EngineSpec
from actors.fleet import Fleet
from actors.rollout import RolloutActor, RolloutHandle, environment
from actors.wait import fetch
from actors.weight_sync.records import Update
from actors.weight_sync.sender import Samplers, Sender, SendPlan, Sent
from actors.weight_sync.sync import WeightSyncHandle
from rlsys.batch import Batch
from rlsys.config.actors import RolloutConfig, SyncConfig
from rlsys.config.sampling import Sampling
from rlsys.samples import Group, Prompt

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers can't import this file

VICTIM = "model.layers.1.mlp.up_proj.weight"
"""The tensor that `Tampering` damages."""
PROMPTS = [Prompt(f"p{i}", "", tuple((17 * i + 3 * j) % 250 for j in range(12))) for i in range(6)]
GREEDY = Sampling(0.0, 1.0, 0, 16, 1)
SAMPLED = Sampling(1.0, 1.0, 0, 16, 4)
TIMEOUT = 120.0


class Tampering(Samplers):
    """Damages what is on its way to the engines: once, in the sync after `fault` was set."""

    fault: str | None = None
    victim: str = VICTIM
    buffer: Tensor
    before: Tensor
    """The segment as the last sync left it."""

    def update_weights(self, update: Update) -> None:
        index = next((i for i, record in enumerate(update.records) if record.spec.name == self.victim), None)
        if self.fault and index is not None:
            fault, self.fault = self.fault, None
            update = self.damaged(fault, update, index)
        if update.last:
            self.before = self.buffer.clone()
        super().update_weights(update)

    def damaged(self, fault: str, update: Update, index: int) -> Update:
        record = update.records[index]
        place = slice(record.offset, record.offset + record.nbytes)
        match fault:
            case "dropped":
                return replace(update, records=update.records[:index] + update.records[index + 1 :])
            case "renamed":
                record = replace(record, spec=replace(record.spec, name=self.victim + "s"))
                return replace(update, records=(*update.records[:index], record, *update.records[index + 1 :]))
            case "old":
                record = replace(record, version=record.version - 1)
                return replace(update, records=(*update.records[:index], record, *update.records[index + 1 :]))
            case "killed":
                ray.kill(self.actors[0])
                return update
            case "truncated":
                return replace(update, nbytes=record.offset - update.offset + record.nbytes // 2)
            case "bit-flipped":
                self.buffer[record.offset + record.nbytes // 2] ^= 1
            case "stale":
                self.buffer[place] = self.before[place]
        return update


class PlainTrainer:
    """A Hugging Face model as the source of weights."""

    def __init__(self, model: Path, device: str = "cpu") -> None:
        self.device = torch.device(device)
        whole: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        self.model = whole.to(self.device)
        self.start = {name: weight.clone() for name, weight in self.model.state_dict().items()}

    def weight_metadata(self, content: str) -> list[tuple[str, torch.dtype, tuple[int, ...]]]:
        return [(name, weight.dtype, tuple(weight.shape)) for name, weight in self.model.named_parameters()]

    def named_weights(self, content: str) -> Iterator[tuple[str, Tensor]]:
        yield from self.model.named_parameters()

    def merges(self) -> dict[str, Any]:
        return {}

    def open_sender(self, engines: Sequence[Any], plan: SendPlan) -> None:
        samplers = Tampering(engines, plan.timeout)
        self.sender = Sender(self, samplers, plan, 0, "127.0.0.1", self.device)
        samplers.buffer = self.sender.channel.buffer

    def send_weights(self, version: int, with_base: bool) -> Sent:
        return self.sender.send(version, with_base)

    def set_fault(self, fault: str) -> None:
        self.sender.samplers.fault = fault  # type: ignore[attr-defined]

    def change_weights(self, seed: int | None) -> None:
        """Random weights near the first ones; None: the first ones."""
        self.model.load_state_dict(self.start)
        if seed is not None:
            generator = torch.Generator().manual_seed(seed)
            with torch.no_grad():
                for weight in self.model.parameters():
                    weight += 0.05 * torch.randn(weight.shape, generator=generator).to(self.device)

    def log_probs(self, token_ids_BT: Tensor) -> Tensor:
        with torch.no_grad():
            scores = self.model(token_ids_BT.to(self.device)).logits.log_softmax(-1).cpu()
        picked = scores[:, :-1].gather(-1, token_ids_BT[:, 1:, None]).squeeze(-1)
        return torch.nn.functional.pad(picked, (1, 0))


@dataclass
class Trainer:
    actors: list[Any]

    def log_probs(self, batch: Batch, temperature: float) -> Tensor:
        assert temperature == 1.0
        return fetch(self.actors[0].log_probs.remote(batch.token_ids_BT), "log-probs", TIMEOUT)

    def change(self, seed: int | None) -> None:
        fetch(self.actors[0].change_weights.remote(seed), "new weights", TIMEOUT)


@dataclass
class Setup:
    """Two engines, a trainer and the sync between them. Every test leaves the engines with proven weights."""

    trainer: Trainer
    rollout: RolloutHandle
    sync: WeightSyncHandle
    version: int = -1

    def send(self) -> float:
        self.version += 1
        return self.sync.sync(self.version).probe_gap

    def rejoin(self) -> None:
        """The engines get their weights from this trainer again, after they had them from another one."""
        self.sync = open_sync(self.trainer, self.rollout)
        self.send()

    def sample(self, sampling: Sampling, engines: int = 2, tag: str = "test") -> dict[str, Group]:
        handle = RolloutHandle(
            Fleet(self.rollout.actors[:engines], TIMEOUT, TIMEOUT), SPEC, self.rollout.vocab_size, TIMEOUT
        )
        return {group.prompt.prompt_id: group for group in handle.generate(PROMPTS, sampling, tag)}


CONFIG = RolloutConfig(max_num_seqs=64, gpu_memory_fraction=0.3)
SPEC = EngineSpec(model="", dtype="float32", max_model_len=80, seed=3, config=CONFIG)


def start_engines(
    model: Path, count: int, gpus: float = 0.0, stop_ids: tuple[int, ...] = (), restarts: int = 2
) -> RolloutHandle:
    """With less than a whole GPU each, engines sleep between calls."""
    spec = replace(SPEC, model=str(model), on_gpu=gpus > 0, sleeps=0 < gpus < 1, stop_ids=stop_ids)
    remote: Any = ray.remote(RolloutActor).options(
        num_cpus=1, num_gpus=gpus, runtime_env={"env_vars": environment(CONFIG, on_gpu=gpus > 0)}
    )

    def make(number: int) -> Any:
        return remote.remote(spec)

    actors = [make(number) for number in range(count)]
    sizes = fetch([actor.start.remote() for actor in actors], "engines", TIMEOUT)
    return RolloutHandle(Fleet(actors, TIMEOUT, TIMEOUT, make, restarts), spec, sizes[0], TIMEOUT)


def open_sync(trainer: Trainer, rollout: RolloutHandle, transport: str = "shared_memory") -> WeightSyncHandle:
    plan = SendPlan(transport, bucket_bytes=300_000, workers=1, timeout=TIMEOUT)
    return WeightSyncHandle(trainer, rollout, SyncConfig(), plan, "float32", seed=3)


def start_trainer(model: Path, gpus: float = 0.0) -> Trainer:
    remote: Any = ray.remote(PlainTrainer).options(num_cpus=1, num_gpus=gpus)
    return Trainer([remote.remote(model, "cuda:0" if gpus else "cpu")])
