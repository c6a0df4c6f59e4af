"""Weights through memory that the processes of one machine share.

The segment holds a whole sync and stays for the run: fresh pages cost a multiple of the copy itself. It is an anonymous
file (memfd), which receivers open through the trainer's /proc entry: it has no name that could be left behind and does
not count against the size of /dev/shm.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from actors.weight_sync.channel import Opening
from rlsys.errors import WeightSyncError

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Tells machines apart."""


class SendChannel:
    reused = False

    def __init__(self, opening: Opening) -> None:
        self.file: int | None = None
        self.buffer = torch.empty(0, dtype=torch.uint8)
        if opening.rank != 0:
            return
        self.file = os.memfd_create("rlsys-weights")
        try:
            os.posix_fallocate(self.file, 0, opening.total)
        except OSError as error:
            raise WeightSyncError(
                f"no room for {opening.total / 2**20:.0f} MiB of shared memory to send the weights in: {error}"
            ) from error
        self.buffer = attach(self.file, opening.total)
        self.buffer.zero_()

    def describe(self) -> Mapping[str, Any]:
        return {
            "path": f"/proc/{os.getpid()}/fd/{self.file}",
            "machine": BOOT_ID.read_text(),
            "nbytes": self.buffer.numel(),
        }

    def connect(self) -> None: ...

    def transmit(self, nbytes: int) -> None: ...

    def prepare(self) -> None: ...

    def settle(self) -> None: ...

    def close(self) -> None:
        self.buffer = torch.empty(0, dtype=torch.uint8)
        if self.file is not None:
            os.close(self.file)
            self.file = None


class ReceiveChannel:
    def __init__(self, settings: Mapping[str, Any], rank: int, device: torch.device) -> None:
        if settings["machine"] != BOOT_ID.read_text():
            raise WeightSyncError("the trainer's shared memory is on another machine: set weight_sync.transport=gloo")
        try:
            file = os.open(settings["path"], os.O_RDWR)
        except OSError as error:
            raise WeightSyncError(
                f"the trainer's shared memory can't be opened: {error}; set weight_sync.transport=gloo"
            ) from error
        self.buffer = attach(file, settings["nbytes"])
        os.close(file)

    def receive(self, offset: int, nbytes: int) -> Tensor:
        return self.buffer[offset : offset + nbytes]

    def close(self) -> None:
        self.buffer = torch.empty(0, dtype=torch.uint8)


def attach(file: int, nbytes: int) -> Tensor:
    """Map the segment as a flat uint8 tensor, all its pages at once. The mapping lives as long as the tensor."""
    return torch.frombuffer(mmap.mmap(file, nbytes, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE), dtype=torch.uint8)
