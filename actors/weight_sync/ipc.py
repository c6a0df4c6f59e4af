"""Weights between processes that share GPUs: every trainer rank fills a buffer on its own GPU, and the workers on that
GPU read it in place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, distributed
from torch.multiprocessing.reductions import rebuild_cuda_tensor, reduce_tensor

from actors.weight_sync.channel import Opening
from rlsys.errors import WeightSyncError

DEVICE_ARGUMENT = 6
"""Where `reduce_tensor` puts the device's index, which each process counts differently."""


class SendChannel:
    reused = True

    def __init__(self, opening: Opening) -> None:
        self.opening = opening
        self.buffer = torch.empty(opening.bucket, dtype=torch.uint8, device=opening.device)

    def describe(self) -> Mapping[str, Any]:
        """Collective: the handles of all ranks' buffers, by GPU. One export for the whole run."""
        _, handle = reduce_tensor(self.buffer)
        mine = {uuid(self.opening.device): handle}
        if not distributed.is_initialized():
            return {"handles": mine}
        gathered: list[dict[str, Any]] = [{} for _ in range(distributed.get_world_size())]
        distributed.all_gather_object(gathered, mine)
        return {"handles": {gpu: handle for handles in gathered for gpu, handle in handles.items()}}

    def connect(self) -> None: ...

    def prepare(self) -> None:
        """Every rank's copy must be complete before any worker reads it."""
        torch.cuda.synchronize(self.opening.device)
        meet()

    def transmit(self, nbytes: int) -> None: ...

    def settle(self) -> None:
        """No rank may overwrite its buffer before rank 0 has heard from all workers."""
        meet()

    def close(self) -> None:
        self.buffer = torch.empty(0, dtype=torch.uint8)
        torch.cuda.ipc_collect()


class ReceiveChannel:
    def __init__(self, settings: Mapping[str, Any], rank: int, device: torch.device) -> None:
        handle = settings["handles"].get(uuid(device))
        if handle is None:
            raise WeightSyncError(
                f"no trainer rank shares the GPU of sampling worker {rank}: set weight_sync.transport=nccl"
            )
        arguments = list(handle)
        arguments[DEVICE_ARGUMENT] = device.index or 0
        self.buffer: Tensor | None = rebuild_cuda_tensor(*arguments)

    def receive(self, offset: int, nbytes: int) -> Tensor:
        """A copy: the trainer reuses its buffer for the next bucket, and vLLM holds on to tensors of layers that are
        not complete."""
        assert self.buffer is not None, "the channel is closed"
        return self.buffer[offset : offset + nbytes].clone()

    def close(self) -> None:
        self.buffer = None


def meet() -> None:
    if distributed.is_initialized():
        distributed.barrier()


def uuid(device: torch.device) -> str:
    """Names the GPU in every process, whatever index it has there."""
    return str(torch.cuda.get_device_properties(device).uuid)
