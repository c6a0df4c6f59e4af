"""From a config to an adapter in its place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rlsys.models.adapters.base import PACKAGE, Adapter, AdapterConfig
from rlsys.models.adapters.shared.files import read_adapter
from rlsys.registry import resolve

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def put_adapter(network: PreTrainedModel, config: AdapterConfig | None, source: Path) -> Adapter:
    """The adapter that the config asks for, in place, and gone on from where the config says so; without a config, full
    training. `source`: where the network was loaded from. Raises ConfigError as `Adapter`, and for a saved adapter of
    another base, kind or shape."""
    if config is None:
        return Adapter(network)
    adapter: Adapter = resolve(PACKAGE, config.kind, "Adapter")(network, config)
    if config.path is not None:
        read_adapter(adapter, Path(config.path), source)
    return adapter
