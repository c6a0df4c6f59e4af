"""What a DeepSpeed rank needs before it can train: its settings, its peers, its random numbers."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import psutil
import torch
import torch.distributed as dist
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]  # public by its documentation
from transformers import get_scheduler

from rlsys.config.actors import PolicyConfig
from rlsys.errors import ConfigError

SCHEDULES = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}
LOOPBACK = "127.0.0.1"
"""Where ranks on one machine meet."""


@dataclass(frozen=True, slots=True)
class World:
    """Who trains together. `address` is host:port of the store that `open_store` opened."""

    rank: int
    size: int
    address: str
    timeout: float
    """Longest wait (seconds) of one rank for the others."""
    own: str = LOOPBACK
    """The address of this machine that the others reach it at."""


def open_store(host: str, size: int, timeout: float) -> TCPStore:
    """The meeting point of `size` ranks, on a free port of `host` and of no other address of this machine; lives as
    long as the object does."""
    with socket.create_server((host, 0)) as listener:
        port = listener.getsockname()[1]
        return TCPStore(
            host,
            port,
            size,
            is_master=True,
            timeout=timedelta(seconds=timeout),
            wait_for_workers=False,
            master_listen_fd=listener.detach(),  # left to itself it listens on every interface
        )


def interface_of(address: str) -> str | None:
    """The network interface that has this address."""
    for name, addresses in psutil.net_if_addrs().items():
        if any(one.address == address for one in addresses):
            return name
    return None


def join(world: World, device: torch.device) -> None:
    """Meet the other ranks: gloo on CPUs, NCCL on GPUs (and gloo for what lies on the host). Engines in one process
    meet once."""
    if dist.is_initialized():
        return
    host, port = world.address.rsplit(":", 1)
    # Else gloo takes the interface of the host's name.
    if (interface := interface_of(world.own)) is not None:
        os.environ["GLOO_SOCKET_IFNAME"] = interface
    limit = timedelta(seconds=world.timeout)
    on_gpu = device.type == "cuda"
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
        store=TCPStore(host, int(port), world.size, is_master=False, timeout=limit),
        rank=world.rank,
        world_size=world.size,
        timeout=limit,
        device_id=device if on_gpu else None,
    )
    os.environ["LOCAL_RANK"] = "0"  # DeepSpeed's device index: Ray shows an actor only its own GPU


def check(config: PolicyConfig, has_gpu: bool) -> None:
    """Raises ConfigError for settings that can't be had."""
    for name, wanted, lowest in (
        ("offload_optimizer", config.offload_optimizer, 1),
        ("offload_parameters", config.offload_parameters, 3),
    ):
        if wanted and not has_gpu:
            raise ConfigError(f"policy.{name}: there is no GPU to offload from; set it to false")
        if wanted and config.zero_stage < lowest:
            raise ConfigError(f"policy.{name} needs policy.zero_stage of at least {lowest}, not {config.zero_stage}")


def deepspeed_config(config: PolicyConfig, dtype: torch.dtype, ranks: int) -> dict[str, Any]:
    """DeepSpeed's settings. The engine splits micro-batches and divides losses itself: each backward pass only adds to
    the gradient, and a call of `step` ends the accumulation."""
    zero: dict[str, Any] = {
        "stage": config.zero_stage,
        "overlap_comm": torch.cuda.is_available() and config.zero_stage >= 2,
    }
    if config.offload_optimizer:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    if config.offload_parameters:
        zero["offload_param"] = {"device": "cpu", "pin_memory": True}
    settings: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "train_batch_size": ranks,
        "managed_gradient_accumulation": config.zero_stage == 0,  # then the engine reduces gradients itself
        "gradient_clipping": config.max_grad_norm,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        # Torch's fused AdamW also runs on CPUs; DeepSpeed's own would be compiled at start-up.
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 2**31,
    }
    if dtype == torch.bfloat16:
        settings["bf16"] = {"enabled": True}
        if config.zero_stage > 0:
            settings["data_types"] = {"grad_accum_dtype": "fp32"}
    return settings


def schedule(config: PolicyConfig, total_steps: int) -> Callable[[torch.optim.Optimizer], Any]:
    """Makes an optimizer's learning-rate schedule, of so many steps."""

    def make(optimizer: torch.optim.Optimizer) -> Any:
        return get_scheduler(SCHEDULES[config.schedule], optimizer, config.warmup_steps, total_steps)

    return make


def obey_learning_rates(scheduler: Any, peaks: Sequence[float]) -> None:
    """Let a schedule that was loaded go on from `peaks`, one for each group of parameters, where it was saved with
    others: its base rates are part of what it saves."""
    if list(scheduler.base_lrs) == list(peaks):
        return
    scheduler.base_lrs = list(peaks)
    for group, peak, shape in zip(scheduler.optimizer.param_groups, peaks, scheduler.lr_lambdas, strict=True):
        group["initial_lr"] = peak
        group["lr"] = peak * shape(scheduler.last_epoch)


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)  # of GPUs, too


def random_state() -> dict[str, Any]:
    """Everything random in this process, as plain data that `torch.load` reads without pickle."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.asarray(keys, dtype=np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
