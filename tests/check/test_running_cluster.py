import socket
from pathlib import Path

import pytest

from rlsys.check.running_cluster import address_to_join
from rlsys.config.experiment import ClusterConfig


@pytest.fixture(autouse=True)
def ray_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Ray would note the address of a cluster that `ray start` made; nothing is there yet."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "ray").mkdir()
    return tmp_path / "ray"


def test_without_any_a_local_one_is_started():
    assert address_to_join(ClusterConfig()) is None


def test_the_config_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_ADDRESS", "there:1")
    assert address_to_join(ClusterConfig()) == "there:1"
    assert address_to_join(ClusterConfig(address="here:2")) == "here:2"
    assert address_to_join(ClusterConfig(address="local")) is None


def test_a_cluster_of_this_machine_is_joined_as_long_as_it_answers(ray_folder: Path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        (ray_folder / "ray_current_cluster").write_text(address)
        assert address_to_join(ClusterConfig()) == address
    assert address_to_join(ClusterConfig()) is None
