"""The two ends of a transport. A file of this folder that defines `SendChannel` and `ReceiveChannel` is the transport
of that name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Opening:
    """What the trainer's end is made from."""

    rank: int
    """This trainer rank; rank 0 sends."""
    total: int
    """Bytes of a whole sync, alignment included."""
    bucket: int
    """Bytes of the largest bucket."""
    receivers: int
    """Receiving processes: engines times their tensor-parallel workers."""
    host: str
    """Address of this machine that the receivers can reach."""
    device: torch.device
    timeout: float
    """Seconds."""


class SendChannel(Protocol):
    """The trainer's end, made as `SendChannel(opening)` on every rank."""

    buffer: Tensor
    """Flat uint8; the sender copies tensors into it. Ranks that hold no part of the transport have an empty one."""
    reused: bool
    """Whether every bucket starts at offset 0; else the buffer holds a whole sync."""

    def describe(self) -> Mapping[str, Any]:
        """What the receiving ends need to open theirs: part of the handshake."""
        ...

    def connect(self) -> None:
        """Meet the receiving ends, which open at the same time. Rank 0 only."""
        ...

    def prepare(self) -> None:
        """On every rank, before the receivers are told of a bucket: make sure that its bytes are in the buffer."""
        ...

    def transmit(self, nbytes: int) -> None:
        """Move the first bytes of a reused buffer; the receivers have been told and take them at the same time. Rank 0
        only."""
        ...

    def settle(self) -> None:
        """Wait, on every rank, until the receivers are done with a reused buffer."""
        ...

    def close(self) -> None: ...


class ReceiveChannel(Protocol):
    """A sampler's end, made as `ReceiveChannel(settings, rank, device)`; `rank` counts the receiving processes from
    0."""

    def receive(self, offset: int, nbytes: int) -> Tensor:
        """Those bytes of the sender's buffer: flat uint8, unchanged until the sync is finished. Shorter when fewer
        came."""
        ...

    def close(self) -> None: ...
