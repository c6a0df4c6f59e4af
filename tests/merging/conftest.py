"""Tiny models for all tests of this folder, and changed copies of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from torch import Tensor

from rlsys.config.merge import MergedModel
from rlsys.merging.plan import Plan, plan
from rlsys.methods.merge import Config
from rlsys.playground.models import build

Change = Callable[[dict[str, Tensor]], dict[str, Tensor]]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A base and two models of the same architecture and other weights."""
    folder = tmp_path_factory.mktemp("models")
    base, one, other = (build("0.5m", folder / name, seed) for seed, name in enumerate(("base", "one", "other")))
    return base, one, other


@pytest.fixture
def changed(models: tuple[Path, Path, Path], tmp_path: Path) -> Callable[..., Path]:
    """A copy of `one` with other weights, or other keys of its config."""

    def copy(weights: Change | None = None, **config: Any) -> Path:
        folder = tmp_path / f"changed-{len(list(tmp_path.iterdir()))}"
        shutil.copytree(models[1], folder)
        if weights is not None:
            file = folder / "model.safetensors"
            save_file(weights(load_file(file)), file, {"format": "pt"})
        (folder / "config.json").write_text(json.dumps(json.loads((folder / "config.json").read_text()) | config))
        return folder

    return copy


@pytest.fixture
def planned(models: tuple[Path, Path, Path]) -> Callable[..., Plan]:
    """A merge of folders over `base`; models by default of weight 1."""

    def make(folders: Sequence[Path], by: Any = "linear", *, base: Path = models[0], **models_keys: Any) -> Plan:
        settings = [MergedModel(path=str(folder), **models_keys) for folder in folders]
        return plan(Config(by=by, models=tuple(settings)), base, folders, seed=0)

    return make
