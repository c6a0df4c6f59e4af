"""The only path from trainer to sampler, as the driver sees it: send, and prove that it arrived."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from actors.rollout import RolloutHandle
from actors.wait import fetch
from actors.weight_sync.sender import SendPlan, Sent
from rlsys.batch import Batch
from rlsys.config.actors import SyncConfig
from rlsys.errors import ActorError, ConfigError, WaitTimeout, WeightSyncError
from rlsys.models.adapters.base import AdapterConfig
from rlsys.roles import SyncReport
from rlsys.samples import stable_seed

TOLERANCE = {"float32": 1e-4, "bfloat16": 0.15}
"""Largest |trainer - sampler| log-prob on the probe, nats, unless the config gives one."""


class Trainer(Protocol):
    """The policy's ranks. Each actor offers `open_sender(samplers, plan)` and `send_weights(version, with_base)`, which
    returns a `Sent`."""

    @property
    def actors(self) -> Sequence[Any]: ...

    def log_probs(self, batch: Batch, temperature: float) -> Tensor: ...


class WeightSyncHandle:
    """Implements `roles.WeightSync`."""

    def __init__(
        self, policy: Trainer, rollout: RolloutHandle, config: SyncConfig, plan: SendPlan, dtype: str, seed: int
    ) -> None:
        """`dtype` is the less precise of trainer's and sampler's. Opens the transport between all of them."""
        self.policy, self.rollout, self.plan = policy, rollout, plan
        self.tolerance = config.probe_tolerance or TOLERANCE[dtype]
        length = max(2, min(config.probe_tokens, rollout.max_model_len - 1))
        draw = random.Random(stable_seed(seed, "weight sync probe"))
        self.probe = [draw.randrange(rollout.vocab_size) for _ in range(length)]
        self.version: int | None = None
        """Of the last sync."""
        rollout.renew = self.renew
        self.open()

    def open(self) -> None:
        """The transport between all ranks and all engines."""
        self.base_due = True
        """Whether the next sync must bring what is not trained as well: the first, and one after a failure."""
        opened = [actor.open_sender.remote(self.rollout.actors, self.plan) for actor in self.policy.actors]
        fetch(opened, "trainer and samplers to open the weight transfer", self.plan.timeout)

    def renew(self) -> None:
        """Bring successors of dead engines the weights of the last sync."""
        assert self.version is not None, "nothing samples before the first sync"
        self._mend_and_send(self.version)

    def sync(self, version: int) -> SyncReport:
        """Send the weights to every sampler as `version`, then let each score a fixed prompt and compare with the
        trainer.

        Raises WeightSyncError that names the tensor which did not arrive as it was sent, or that gives both log-probs
        where they disagree. The samplers refuse to sample until a later sync succeeds. Engines that are dead, or die
        meanwhile, are replaced first, and the sync is done anew with all.
        """
        self.version = version
        report = self._mend_and_send(version)
        self.rollout.fleet.proven()
        return report

    def _mend_and_send(self, version: int) -> SyncReport:
        fleet = self.rollout.fleet
        fleet.check()
        while True:
            try:
                if fleet.join():
                    self.open()
                return self._send(version)
            except (ActorError, WeightSyncError, WaitTimeout):  # transports tell of a dead peer in many ways
                if not fleet.check():
                    raise

    def _send(self, version: int) -> SyncReport:
        started = time.monotonic()
        with_base, self.base_due = self.base_due, True
        sent: list[Sent] = fetch(
            [actor.send_weights.remote(version, with_base) for actor in self.policy.actors],
            f"weights of version {version} to be sent",
            self.plan.timeout,
        )
        gap = self.prove(version)
        self.base_due = False
        return SyncReport(version, sent[0].nbytes, sent[0].tensors, time.monotonic() - started, gap)

    def prove(self, version: int) -> float:
        """The probe, once per trainer rank, so that each rank's copy is compared."""
        rows = len(self.policy.actors)
        token_ids = torch.tensor([self.probe] * rows)
        mask = torch.ones_like(token_ids, dtype=torch.bool)
        mask[:, 0] = False
        lengths = torch.full((rows,), len(self.probe))
        scores = [actor.score.remote(self.probe) for actor in self.rollout.actors]  # while the trainer scores it too
        trainer = self.policy.log_probs(Batch(token_ids, mask, lengths), 1.0).tolist()
        proofs = [
            actor.prove.remote(version, score, trainer, self.tolerance)
            for actor, score in zip(self.rollout.actors, scores, strict=True)
        ]
        return max(fetch(proofs, f"the sampling engines to score the probe of version {version}", self.plan.timeout))


def choose_transport(config: SyncConfig, on_gpu: bool, colocated: bool, one_host: bool) -> str:
    """What `auto` stands for."""
    if config.transport != "auto":
        if on_gpu and config.transport in ("shared_memory", "gloo"):
            raise ConfigError(
                f"weight_sync.transport={config.transport} is for CPU hosts, and this cluster has GPUs; leave it out"
            )
        return config.transport
    if on_gpu:
        return "ipc" if colocated else "nccl"
    return "shared_memory" if one_host else "gloo"


def choose_content(config: SyncConfig, adapter: AdapterConfig | None, transport: str) -> Literal["merged", "adapter"]:
    """What `auto` stands for. Through CUDA IPC weights cost next to nothing to send, and a sampler that merges would
    bring its base from host memory for each sync."""
    if config.content != "auto":
        return config.content
    return "merged" if adapter is None or adapter.unmergeable is not None or transport == "ipc" else "adapter"
