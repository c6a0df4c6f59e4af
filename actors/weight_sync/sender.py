"""The trainer's side of a weight sync: every rank walks through the weights, rank 0 sends them bucket by bucket."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from actors.wait import fetch
from actors.weight_sync.channel import Opening, SendChannel
from actors.weight_sync.records import (
    Content,
    Handshake,
    TensorRecord,
    TensorSpec,
    Update,
    aligned,
    as_bytes,
    checksum,
)
from rlsys.models.adapters.base import Merge
from rlsys.registry import resolve


class WeightSource(Protocol):
    """One trainer rank."""

    def weight_metadata(self, content: Content) -> list[tuple[str, torch.dtype, tuple[int, ...]]]:
        """Name, dtype and full shape of every such weight, in the order of `named_weights`. Gathers nothing."""
        ...

    def named_weights(self, content: Content) -> Iterator[tuple[str, Tensor]]:
        """Whole tensors under Hugging Face names (an adapter's own ones under theirs), each valid until the next.
        Collective: all ranks iterate to the end."""
        ...

    def merges(self) -> Mapping[str, Merge]:
        """How weights of the merged model are made of those of the base and of trained ones, by name."""
        ...


@dataclass(frozen=True, slots=True)
class SendPlan:
    """How weights travel, decided by the driver, the same on every rank."""

    transport: str
    """A file of actors/weight_sync."""
    bucket_bytes: int
    workers: int
    """Receiving processes of each engine."""
    timeout: float
    """Longest wait for one answer of the engines, seconds."""
    content: Literal["merged", "adapter"] = "merged"
    """Whole models, or what is trained alone (and first the rest, once)."""


@dataclass(frozen=True, slots=True)
class Sent:
    tensors: int
    nbytes: int


class Samplers:
    """The engines' weight-transfer API, all engines at once. Raises the first failing engine's error."""

    def __init__(self, actors: Sequence[Any], timeout: float) -> None:
        self.actors = list(actors)
        self.timeout = timeout

    def init_weight_transfer_engine(self, handshakes: Sequence[Handshake]) -> None:
        refs = [
            actor.init_weight_transfer_engine.remote(shake)
            for actor, shake in zip(self.actors, handshakes, strict=True)
        ]
        fetch(refs, "the sampling engines to open the weight transfer", self.timeout)

    def start_weight_update(self) -> None:
        fetch(
            [actor.start_weight_update.remote() for actor in self.actors],
            "the sampling engines to expect weights",
            self.timeout,
        )

    def update_weights(self, update: Update) -> None:
        what = f"the sampling engines to load weights of version {update.version}"
        fetch([actor.update_weights.remote(update) for actor in self.actors], what, self.timeout)

    def finish_weight_update(self) -> None:
        fetch(
            [actor.finish_weight_update.remote() for actor in self.actors],
            "the sampling engines to take their new weights",
            self.timeout,
        )


class Sender:
    """One rank's sending end. `Sender(...)` and `send` are called on all ranks at the same time."""

    def __init__(
        self, source: WeightSource, samplers: Samplers, plan: SendPlan, rank: int, host: str, device: torch.device
    ) -> None:
        """Open the transport and tell the engines which tensors every sync brings."""
        self.source, self.samplers, self.rank = source, samplers, rank
        self.always: Content = "merged" if plan.content == "merged" else "trained"
        expected = self.specs(self.always)
        base = self.specs("base") if plan.content == "adapter" else ()
        sizes = [aligned(spec.nbytes) for spec in (*base, *expected)]
        self.bucket_bytes = max(plan.bucket_bytes, *sizes)
        receivers = len(samplers.actors) * plan.workers
        opening = Opening(rank, sum(sizes), min(self.bucket_bytes, sum(sizes)), receivers, host, device, plan.timeout)
        self.channel: SendChannel = resolve("actors.weight_sync", plan.transport, "SendChannel")(opening)
        settings = self.channel.describe()
        if rank == 0:
            merges = source.merges() if base else {}
            handshakes = [
                Handshake(plan.transport, expected, settings, engine, base, merges)
                for engine in range(len(samplers.actors))
            ]
            with ThreadPoolExecutor(1) as pool:  # both ends open at the same time
                opened = pool.submit(samplers.init_weight_transfer_engine, handshakes)
                self.channel.connect()
                opened.result()

    def specs(self, content: Content) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec.of(*metadata) for metadata in self.source.weight_metadata(content))

    def send(self, version: int, with_base: bool) -> Sent:
        """Send the weights as `version`; where only what is trained is sent, the rest as well if `with_base`. Engines
        may load one bucket while the next is gathered.

        Raises what the engines or the transport raised first, such as a WeightSyncError that names a tensor; on rank 0,
        and after all weights have been walked through: the other ranks gather in step with it and would wait for it
        forever.
        """
        contents: tuple[Content, ...] = (self.always,)
        if with_base and self.always == "trained":
            contents = ("base", "trained")
        sync = _Sync(self, version, "base" in contents)
        sync.tell(self.samplers.start_weight_update)
        sync.wait()
        for content in contents:
            for name, tensor in self.source.named_weights(content):
                sync.add(name, tensor)
        sync.flush(last=True)
        sync.wait()
        sync.tell(self.samplers.finish_weight_update)
        return sync.result()

    def close(self) -> None:
        self.channel.close()


class _Sync:
    """One sync in the making. What rank 0 asks of the engines and the transport runs beside it, in order; after the
    first failure it asks no more, but keeps in step with the other ranks."""

    def __init__(self, sender: Sender, version: int, base: bool) -> None:
        self.rank, self.samplers, self.channel = sender.rank, sender.samplers, sender.channel
        self.bucket_bytes, self.version, self.base = sender.bucket_bytes, version, base
        self.engines, self.transport = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        self.asked: list[Future[None]] = []
        self.sent = Sent(0, 0)
        self.start = self.end = 0
        """The running bucket's place in the buffer."""
        self.records: list[TensorRecord] = []

    def add(self, name: str, tensor: Tensor) -> None:
        data = as_bytes(tensor)
        size = aligned(data.numel())
        if self.end > self.start and self.end - self.start + size > self.bucket_bytes:
            self.flush(last=False)
        if self.channel.buffer.numel():
            self.channel.buffer[self.end : self.end + data.numel()].copy_(data)
        if self.rank == 0:
            spec = TensorSpec.of(name, tensor.dtype, tuple(tensor.shape))
            self.records.append(TensorRecord(spec, self.version, self.end, data.numel(), checksum(data)))
        self.end += size
        self.sent = Sent(self.sent.tensors + 1, self.sent.nbytes + data.numel())

    def flush(self, last: bool) -> None:
        """Hand the bucket to the engines and begin the next."""
        nbytes = self.end - self.start
        update = Update(self.version, self.start, nbytes, tuple(self.records), last, self.base)
        self.channel.prepare()
        self.tell(self.samplers.update_weights, update)
        if self.channel.reused:
            self.tell(self.channel.transmit, nbytes, pool=self.transport)
            self.wait()
            self.channel.settle()
            self.end = 0
        self.start, self.records = self.end, []

    def tell(self, action: Callable[..., None], *args: Any, pool: ThreadPoolExecutor | None = None) -> None:
        if self.rank == 0 and not self.failed():
            self.asked.append((pool or self.engines).submit(action, *args))

    def wait(self) -> None:
        """Until all that was asked is done, or something failed."""
        wait(self.asked, return_when=FIRST_EXCEPTION)

    def failed(self) -> bool:
        return any(future.done() and future.exception() is not None for future in self.asked)

    def result(self) -> Sent:
        self.wait()
        self.engines.shutdown(wait=False, cancel_futures=True)
        self.transport.shutdown(wait=False, cancel_futures=True)
        for future in self.asked:
            if future.done() and not future.cancelled():
                future.result()
        return self.sent
