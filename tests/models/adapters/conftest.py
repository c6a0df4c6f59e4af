"""Models that the tests of adapters share."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.adapted import model_with_biases

from rlsys.playground.models import build


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three layers of width 128 (four heads of 32), feed-forward 256; tied, no biases."""
    return build("0.5m", tmp_path_factory.mktemp("models") / "0.5m")


@pytest.fixture(scope="session")
def biased(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_with_biases(tmp_path_factory.mktemp("models") / "biased")
