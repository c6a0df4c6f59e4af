"""Weights between CPU hosts: gloo broadcasts in a group of their own, trainer rank 0 and every receiving process."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor
from torch._C._distributed_c10d import BroadcastOptions, PrefixStore, ProcessGroupGloo, TCPStore

from actors.weight_sync.channel import Opening


class SendChannel:
    reused = True

    def __init__(self, opening: Opening) -> None:
        self.opening = opening
        self.group: ProcessGroupGloo | None = None
        self.store: TCPStore | None = None
        self.buffer = torch.empty(0, dtype=torch.uint8)
        if opening.rank == 0:
            self.buffer = torch.zeros(opening.bucket, dtype=torch.uint8)
            limit = timedelta(seconds=opening.timeout)
            with socket.create_server((opening.host, 0)) as listener:
                port = listener.getsockname()[1]
                # Left to itself the store listens on every interface.
                self.store = TCPStore(
                    opening.host,
                    port,
                    is_master=True,
                    wait_for_workers=False,
                    timeout=limit,
                    master_listen_fd=listener.detach(),
                )

    def describe(self) -> Mapping[str, Any]:
        assert self.store is not None, "only rank 0 describes the channel"
        return {
            "host": self.opening.host,
            "port": self.store.port,
            "world": 1 + self.opening.receivers,
            "timeout": self.opening.timeout,
        }

    def connect(self) -> None:
        assert self.store is not None, "only rank 0 meets the receivers"
        self.group = join(self.store, self.opening.host, 0, 1 + self.opening.receivers, self.opening.timeout)

    def transmit(self, nbytes: int) -> None:
        assert self.group is not None, "connect first"
        broadcast(self.group, self.buffer[:nbytes])

    def prepare(self) -> None: ...

    def settle(self) -> None: ...

    def close(self) -> None:
        self.group = self.store = None


class ReceiveChannel:
    def __init__(self, settings: Mapping[str, Any], rank: int, device: torch.device) -> None:
        host, port, limit = settings["host"], settings["port"], timedelta(seconds=settings["timeout"])
        self.store: TCPStore | None = TCPStore(host, port, is_master=False, timeout=limit)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, port))  # sends nothing; picks the address that faces the trainer
            own = probe.getsockname()[0]
        self.group: ProcessGroupGloo | None = join(self.store, own, 1 + rank, settings["world"], settings["timeout"])

    def receive(self, offset: int, nbytes: int) -> Tensor:
        assert self.group is not None, "the channel is closed"
        data = torch.empty(nbytes, dtype=torch.uint8)
        broadcast(self.group, data)
        return data

    def close(self) -> None:
        self.group = self.store = None


def join(store: TCPStore, own: str, rank: int, world: int, timeout: float) -> ProcessGroupGloo:
    options = ProcessGroupGloo._Options()  # pyright: ignore[reportAttributeAccessIssue] (the stub lacks it)
    options._timeout = timedelta(seconds=timeout)
    options._devices = [ProcessGroupGloo.create_device(hostname=own)]
    return ProcessGroupGloo(PrefixStore("weights", store), rank, world, options)


def broadcast(group: ProcessGroupGloo, data: Tensor) -> None:
    if data.numel():
        options = BroadcastOptions()
        options.rootRank = options.rootTensor = 0
        group.broadcast([data], options).wait()  # pyright: ignore[reportAttributeAccessIssue] (the stub lacks it)
