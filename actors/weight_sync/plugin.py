"""vLLM's entry point: makes our receiver known to its weight-transfer API, in the engine's process and in its
workers."""

from __future__ import annotations

from vllm.distributed.weight_transfer import WeightTransferEngineFactory

BACKEND = "rlsys"
"""One backend for all our transports: the trainer's handshake says which."""


def register() -> None:
    """Called by vLLM through the `vllm.general_plugins` entry point, once in each process."""
    if BACKEND not in WeightTransferEngineFactory._registry:
        WeightTransferEngineFactory.register_engine(BACKEND, "actors.weight_sync.receiver", "Receiver")
