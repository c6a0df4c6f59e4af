"""A tiny model for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlsys.playground.models import build


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("0.5m", tmp_path_factory.mktemp("models") / "0.5m")
