"""Adapters that are served on one model: what is asked for, looked at before a server starts."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlsys.errors import ConfigError
from rlsys.serving.adapters import Adapter, Base, check_name, fitting, named, room
from rlsys.serving.router import RouterConfig, load_router

RUN_TIME = "VLLM_ALLOW_RUNTIME_LORA_UPDATING"
"""vLLM's variable: whether requests may add and remove adapters."""


@dataclass(frozen=True)
class Tenants:
    """The adapters on one model, and who chooses among them."""

    base: Base
    adapters: tuple[Adapter, ...]
    router: RouterConfig | None
    rank: int
    """That room is made for."""
    at_once: int
    """Adapters in memory, whose requests run together."""


def tenants(
    folder: Path,
    name: str,
    adapters: Sequence[str],
    router: Path | None,
    max_rank: int | None,
    max_adapters: int | None,
) -> Tenants | None:
    """Of the model in `folder`, which requests call `name`; None where nobody asked for adapters. Options are as they
    were typed. Raises ConfigError."""
    if router is not None and not adapters:
        raise ConfigError(f"--router {router}: there is nothing to choose from; give --adapter name=PATH")
    if not adapters and max_adapters is None and max_rank is None:
        return None
    base, found = Base(folder), []
    for adapter, path in named(adapters).items():
        said = f"--adapter {adapter}={path}"
        check_name(said, adapter, (name,))
        found.append(fitting(said, adapter, Path(path).expanduser(), base))
    if max_adapters is not None and max_adapters < len(found):
        raise ConfigError(f"--max-adapters {max_adapters}: {len(found)} are given")
    rules = load_router(router, [one.name for one in found], name) if router else None
    return Tenants(base, tuple(found), rules, room(found, max_rank), max_adapters or len(found) + 1)


def check_reach(host: str, options: Sequence[str], environment: Mapping[str, str]) -> None:
    """Raises ConfigError where anyone on the network could add and remove adapters. `options`: those of vLLM."""
    keyed = environment.get("VLLM_API_KEY") or any(one.partition("=")[0] == "--api-key" for one in options)
    fixed = environment.get(RUN_TIME, "1").strip().lower() not in ("1", "true")
    if not (keyed or fixed or _loopback(host)):
        raise ConfigError(
            f"--host {host}: whoever reaches it could add and remove adapters; set VLLM_API_KEY, or {RUN_TIME}=0 to "
            "serve those given and no others"
        )


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return False
