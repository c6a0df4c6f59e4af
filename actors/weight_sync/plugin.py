"""vLLM's entry point: makes our transports known to its weight-transfer API, in the engine's process and in its workers."""

from __future__ import annotations

from vllm.distributed.weight_transfer import WeightTransferEngineFactory

TRANSPORTS = ("shared_memory", "gloo", "nccl", "ipc")


def backend(transport: str) -> str:
    """The name under which vLLM knows a transport of ours; its own `nccl` and `ipc` keep theirs."""
    return f"rlsys_{transport}"


def register() -> None:
    """Called by vLLM through the `vllm.general_plugins` entry point; nothing of a transport is imported before it is used."""
    for transport in TRANSPORTS:
        if backend(transport) not in WeightTransferEngineFactory._registry:
            WeightTransferEngineFactory.register_engine(backend(transport), "actors.weight_sync.receiver", "Receiver")
