"""Workplaces for the runs of these tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command_line import Workplace


@pytest.fixture(scope="session")
def ray_folder() -> Iterator[Path]:
    """Where Ray keeps its sessions: a short path, because the names of its sockets must fit into 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, ray_folder: Path) -> Workplace:
    return Workplace.make(tmp_path_factory.mktemp("work"), ray_folder)
