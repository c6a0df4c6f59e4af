"""The Ray cluster of a run: the existing one where there is one, else a local one."""

from __future__ import annotations

import logging
import os
import subprocess

import ray

from actors import guard
from rlsys.check.running_cluster import address_to_join
from rlsys.config.experiment import ClusterConfig
from rlsys.errors import ConfigError

LOCAL_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray's own default from its next release on; unset, it prints a warning in every process.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}

guards: list[subprocess.Popen[bytes]] = []
"""Held as long as this process lives: a guard acts when its pipe is closed."""


def connect(config: ClusterConfig) -> None:
    """Join the cluster that `address_to_join` finds, else start a local one, which ends with this process. Does nothing
    when this process is connected already. Raises ConfigError when the cluster to join does not answer."""
    if ray.is_initialized():
        return
    os.environ.update({name: value for name, value in LOCAL_ENVIRONMENT.items() if name not in os.environ})
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    address = address_to_join(config)
    if address is None:
        guards.append(guard.start())
        ray.init(address="local", num_cpus=config.cpus, num_gpus=config.gpus, include_dashboard=False, **quiet)
        return
    # Without an explicit address Ray finds the cluster that `address_to_join` saw by itself, and, other than with one,
    # its token too.
    explicit = config.address or os.environ.get("RAY_ADDRESS")
    try:
        ray.init(address=explicit, **quiet)
    except ConnectionError as error:
        reason = [line.strip() for line in str(error.__cause__ or error).splitlines() if line.strip()][-1]
        raise ConfigError(
            f"cluster.address: can't join the Ray cluster at {address}: {reason}; cluster.address=local starts one"
        ) from error
