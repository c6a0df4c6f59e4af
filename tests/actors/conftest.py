"""Engines that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rlsys.playground.models import build

if TYPE_CHECKING:
    from engine_setup import Setup


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("0.5m", tmp_path_factory.mktemp("model") / "m")


@pytest.fixture(scope="session")
def setup(ray_session: None, model_path: Path) -> Iterator[Setup]:
    import ray
    from engine_setup import Setup, open_sync, start_engines, start_trainer

    trainer, rollout = start_trainer(model_path), start_engines(model_path, 2)
    setup = Setup(trainer, rollout, open_sync(trainer, rollout))
    setup.send()
    yield setup
    for actor in [*rollout.actors, *trainer.actors]:
        ray.kill(actor)
