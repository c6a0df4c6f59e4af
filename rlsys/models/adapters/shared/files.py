"""An adapter's folder: `adapter_config.json` and `adapter_model.safetensors` as peft writes them (of our own kinds,
settings and tensors under the model's names), and `base.json`, which says what it was trained on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlsys.errors import ConfigError
from rlsys.models.adapters.base import Adapter
from rlsys.models.version import OF_TOKENS, version_of

if TYPE_CHECKING:
    from torch import Tensor

CONFIG, WEIGHTS, BASE = "adapter_config.json", "adapter_model.safetensors", "base.json"
ADAPTER = "adapter"
"""The folder of the adapter in a final model's."""


def write_adapter(adapter: Adapter, folder: Path, parameters: dict[str, Tensor], source: Path) -> None:
    """`parameters`: those that `adapter.saved` names, whole, on the CPU; `source`: what the base was loaded from."""
    from safetensors.torch import save_file

    assert adapter.config is not None, "full training has no adapter"
    folder.mkdir(parents=True, exist_ok=True)
    described = adapter.description() | {"base_model_name_or_path": str(source)}
    (folder / CONFIG).write_text(json.dumps(described, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    origin = {
        "kind": adapter.config.kind,
        "settings": adapter.config.model_dump(mode="json", exclude={"path", "export"}),
        "base": str(source),
        "version": version_of(source, OF_TOKENS),
    }
    (folder / BASE).write_text(json.dumps(origin, indent=2) + "\n", encoding="utf-8")
    tensors = {name: tensor.contiguous() for name, tensor in adapter.tensors(parameters).items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod((folder / CONFIG).stat().st_mode & 0o777)


def read_adapter(adapter: Adapter, path: Path, source: Path) -> None:
    """Go on from a saved adapter. Raises ConfigError where there is none, or one of another base, kind, settings or
    shape. The base of a folder without base.json, which peft wrote, can't be compared."""
    from safetensors.torch import load_file

    assert adapter.config is not None
    folder = adapter_folder(path)
    check_base(folder, adapter.config.kind, source)
    adapter.load(load_file(folder / WEIGHTS), json.loads((folder / CONFIG).read_text(encoding="utf-8")))


def adapter_folder(path: Path, key: str = "model.adapter.path") -> Path:
    """The folder itself, or the `adapter` in a final model's. Raises ConfigError, which names `key`, where neither is
    an adapter's."""
    for folder in (path, path / ADAPTER):
        if (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file():
            return folder
    raise ConfigError(f"{key} {path}: holds no adapter ({CONFIG} and {WEIGHTS})")


def check_base(folder: Path, kind: str, source: Path) -> None:
    """Raises ConfigError for an adapter of another kind, or of a base whose weights have another hash."""
    if not (folder / BASE).is_file():
        return
    origin = json.loads((folder / BASE).read_text(encoding="utf-8"))
    if origin["kind"] != kind:
        raise ConfigError(f"model.adapter.path {folder}: is of kind {origin['kind']}, not {kind}")
    check_version(origin, folder, source, ("model.adapter.path", "model.path"))


def check_version(origin: Mapping[str, Any], folder: Path, source: Path, keys: tuple[str, str]) -> None:
    """Raises ConfigError, which names the keys of adapter and base, unless `source` is the base that `origin` (what
    base.json says) names."""
    here = version_of(source, OF_TOKENS)
    if origin["version"].rpartition("@")[2] != here.rpartition("@")[2]:
        raise ConfigError(
            f"{keys[0]} {folder}: was trained on {origin['version']} ({origin['base']}), and {keys[1]} is {here}; "
            "give it the base that it was trained on"
        )
