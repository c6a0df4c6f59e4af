"""Which Ray cluster a run joins. Ray's own `auto` would also join one that another program started for itself, and die
with it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from rlsys.config.experiment import ClusterConfig

LOCAL = "local"
"""As an address: start a cluster here, whatever runs already."""


def address_to_join(config: ClusterConfig) -> str | None:
    """`cluster.address`, else RAY_ADDRESS, else the cluster that `ray start` started on this machine, if it still
    answers; None: start a local one."""
    address = config.address or os.environ.get("RAY_ADDRESS")
    if address:
        return None if address == LOCAL else address
    # Where Ray notes it (ray._common.utils.get_ray_address_file); `ray stop` removes the file, a crash does not.
    folder = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp")
    try:
        address = (folder / "ray" / "ray_current_cluster").read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=2):
            return address
    except OSError:
        return None
