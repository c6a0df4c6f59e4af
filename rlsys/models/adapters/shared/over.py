"""Reward models that are adapters over one base, which is in memory once: each is a network of its own whose weights
are the base's tensors themselves, with its adapter in place and its own scalar head."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

from rlsys.errors import ConfigError
from rlsys.models.adapters.base import PACKAGE, Adapter, AdapterConfig
from rlsys.models.adapters.shared.files import (
    BASE,
    CONFIG,
    WEIGHTS,
    adapter_folder,
    check_version,
    read_json,
    read_origin,
)
from rlsys.models.version import OF_TOKENS, version_of
from rlsys.registry import resolve

if TYPE_CHECKING:
    from transformers import PreTrainedModel

HEAD = "score.weight"
"""Of a scalar head, at the end of its name in the file."""


def check_over(path: Path, source: Path, keys: tuple[str, str]) -> int:
    """How many heads the saved reward model has. Raises ConfigError, which names the keys of adapter and base, for a
    folder without an adapter, one that was not written here, another base, and an adapter without a scalar head."""
    said = f"{keys[0]} {path}"
    folder = adapter_folder(said, path)
    origin = read_origin(said, folder)
    if origin is None or "settings" not in origin:
        raise ConfigError(
            f"{said}: {BASE} does not say by which settings it was made, as it does where a run here wrote "
            f"it; merge it into its base by method merge, and leave {keys[1]} out"
        )
    check_version(said, origin, version_of(source, OF_TOKENS), keys[1])
    if not (heads := heads_of(folder)):
        raise ConfigError(f"{said}: is no reward model's adapter: it has no scalar head")
    return heads


def heads_of(folder: Path) -> int:
    """Outputs of the scalar head among a saved adapter's tensors; 0 where there is none."""
    from safetensors import safe_open

    with safe_open(folder / WEIGHTS, "pt") as tensors:
        names = [name for name in tensors.keys() if name.endswith(HEAD)]  # noqa: SIM118  # it is no mapping
        return tensors.get_slice(names[0]).get_shape()[0] if names else 0


def over(base: PreTrainedModel, path: Path) -> Adapter:
    """The reward model in a folder that `check_over` has passed, as an adapter in its network. `base`: its base, with
    any scalar head."""
    from safetensors.torch import load_file
    from torch import nn

    from rlsys.models.value_model import SCALAR_HEAD

    said = f"adapter {path}"
    folder = adapter_folder(said, path)
    origin = read_json(said, folder / BASE, "kind", "settings")
    saved: AdapterConfig = resolve(PACKAGE, origin["kind"], "Config").model_validate(origin["settings"])
    config = saved.loaded()
    shared = base.base_model.parameters() if config.keeps_base else ()
    network = copy.deepcopy(base, {id(weight): weight for weight in shared})
    head = network.get_submodule(SCALAR_HEAD)
    assert isinstance(head, nn.Linear)
    new = nn.Linear(head.in_features, heads_of(folder), bias=False, device=head.weight.device, dtype=head.weight.dtype)
    network.set_submodule(SCALAR_HEAD, new)
    adapter: Adapter = resolve(PACKAGE, config.kind, "Adapter")(network, config)
    adapter.load(load_file(folder / WEIGHTS), read_json(said, folder / CONFIG))
    return adapter
