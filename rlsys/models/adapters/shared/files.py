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
    shape. The base of an adapter that peft wrote, without base.json, can't be compared."""
    from safetensors.torch import load_file

    assert adapter.config is not None
    said = f"model.adapter.path {path}"
    folder = adapter_folder(said, path)
    if (origin := read_origin(said, folder)) is not None:
        if origin["kind"] != adapter.config.kind:
            raise ConfigError(f"{said}: is of kind {origin['kind']}, not {adapter.config.kind}")
        check_version(said, origin, version_of(source, OF_TOKENS), "model.path")
    adapter.load(load_file(folder / WEIGHTS), read_json(said, folder / CONFIG))


def adapter_folder(said: str, path: Path) -> Path:
    """The adapter's folder: `path`, or that in a run or its final model. Raises ConfigError, which begins with `said`,
    where none is an adapter's."""
    for folder in (path, path / ADAPTER, path / "final" / ADAPTER):
        if (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file():
            return folder
    if not path.exists():
        raise ConfigError(f"{said}: no such folder: {path} (looked in {Path.cwd()})")
    raise ConfigError(
        f"{said}: {path} holds no adapter ({CONFIG} and {WEIGHTS}); give a run that trained one, or the adapter's own "
        "folder"
    )


def read_origin(said: str, folder: Path) -> dict[str, Any] | None:
    """What base.json says; None of an adapter that peft wrote, which has none. Raises ConfigError as `read_json`."""
    return read_json(said, folder / BASE, "kind", "base", "version") if (folder / BASE).is_file() else None


def check_version(said: str, origin: Mapping[str, Any], here: str, key: str) -> None:
    """Raises ConfigError, which begins with `said`, unless the base of version `here`, that `key` names, is the one
    that `origin` (what base.json says) was trained on."""
    if origin["version"].rpartition("@")[2] != here.rpartition("@")[2]:
        raise ConfigError(
            f"{said}: was trained on {origin['version']} ({origin['base']}), and {key} is {here}; give it the base "
            "that it was trained on"
        )


def read_json(said: str, file: Path, *wanted: str) -> dict[str, Any]:
    """A file of an adapter's folder. Raises ConfigError, which begins with `said`, for one that can't be read, or lacks
    a `wanted` key."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{said}: {file} can't be read: {error}") from error
    if not isinstance(found, dict) or not found.keys() >= {*wanted}:
        raise ConfigError(f"{said}: {file} is none of peft's or ours: it does not say {' and '.join(wanted)}")
    return found
