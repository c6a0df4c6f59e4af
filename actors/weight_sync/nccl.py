"""Weights between GPUs: NCCL broadcasts in a group of trainer rank 0 and every sampling worker, through vLLM's own
communicator."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from vllm.distributed.weight_transfer.nccl_common import stateless_init_process_group

from actors.weight_sync.channel import Opening
from rlsys.errors import WaitTimeout

if TYPE_CHECKING:
    from vllm.distributed.device_communicators.pynccl import PyNcclCommunicator

POLL = 0.001
"""Seconds between looks at a running broadcast."""


class SendChannel:
    reused = True

    def __init__(self, opening: Opening) -> None:
        self.opening = opening
        self.group: PyNcclCommunicator | None = None
        size = opening.bucket if opening.rank == 0 else 0
        self.buffer = torch.empty(size, dtype=torch.uint8, device=opening.device)

    def describe(self) -> Mapping[str, Any]:
        with socket.socket() as probe:
            probe.bind((self.opening.host, 0))
            self.port = probe.getsockname()[1]
        world = 1 + self.opening.receivers
        return {"host": self.opening.host, "port": self.port, "world": world, "timeout": self.opening.timeout}

    def connect(self) -> None:
        self.group = stateless_init_process_group(
            self.opening.host, self.port, 0, 1 + self.opening.receivers, self.opening.device
        )

    def prepare(self) -> None: ...

    def transmit(self, nbytes: int) -> None:
        assert self.group is not None, "connect first"
        broadcast(self.group, self.buffer[:nbytes], self.opening.timeout)

    def settle(self) -> None: ...

    def close(self) -> None:
        if self.group is not None:
            self.group.destroy()
            self.group = None


class ReceiveChannel:
    def __init__(self, settings: Mapping[str, Any], rank: int, device: torch.device) -> None:
        self.device, self.timeout = device, settings["timeout"]
        self.group: PyNcclCommunicator | None = stateless_init_process_group(
            settings["host"], settings["port"], 1 + rank, settings["world"], device
        )

    def receive(self, offset: int, nbytes: int) -> Tensor:
        assert self.group is not None, "the channel is closed"
        data = torch.empty(nbytes, dtype=torch.uint8, device=self.device)
        broadcast(self.group, data, self.timeout)
        return data

    def close(self) -> None:
        if self.group is not None:
            self.group.destroy()
            self.group = None


def broadcast(group: PyNcclCommunicator, data: Tensor, timeout: float) -> None:
    """From rank 0 to all. NCCL only queues its work and never gives up, so wait for it here, and only so long."""
    if not data.numel():
        return
    with torch.cuda.device(data.device):
        group.broadcast(data, src=0, stream=torch.cuda.current_stream())
        done = torch.cuda.Event()
        done.record()
    limit = time.monotonic() + timeout
    while not done.query():
        if time.monotonic() > limit:
            raise WaitTimeout(f"waited {timeout:g} s for a broadcast of {data.numel() / 2**20:.0f} MiB of weights")
        time.sleep(POLL)
