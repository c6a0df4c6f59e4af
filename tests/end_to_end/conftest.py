"""Workplaces for the runs of these tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command_line import Workplace
from support.ray_head import ray_head

OPEN = {"RAY_AUTH_MODE": "disabled"}
"""`ray start` would make a token and ask for it."""


@pytest.fixture(scope="session")
def ray_folder() -> Iterator[Path]:
    """Where Ray keeps its sessions: a short path, because the names of its sockets must fit into 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def shared_ray(tmp_path_factory: pytest.TempPathFactory, ray_folder: Path) -> Iterator[dict[str, str]]:
    """What the environment of a run must say to join the cluster that the tests share: a run starts sooner so."""
    alone = Workplace.make(tmp_path_factory.mktemp("ray"), ray_folder / "shared")
    place = Workplace(alone.folder, alone.environment | OPEN)
    with ray_head(place, "--num-cpus=16", "--include-dashboard=false") as head:
        yield {**OPEN, "RAY_ADDRESS": f"127.0.0.1:{head.ports['']}"}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, ray_folder: Path, shared_ray: dict[str, str]) -> Workplace:
    """Its runs join the shared cluster."""
    alone = Workplace.make(tmp_path_factory.mktemp("work"), ray_folder)
    return Workplace(alone.folder, alone.environment | shared_ray)


@pytest.fixture(scope="module")
def workplace_alone(tmp_path_factory: pytest.TempPathFactory, ray_folder: Path) -> Workplace:
    """Each of its runs starts a Ray of its own: for tests that kill, count or restart what is of Ray."""
    return Workplace.make(tmp_path_factory.mktemp("work"), ray_folder)
