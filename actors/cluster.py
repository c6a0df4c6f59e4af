"""The Ray cluster of a run: the existing one where there is one, else a local one."""

from __future__ import annotations

import logging
import os

import ray

from rlsys.config.models import ClusterConfig

LOCAL_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray's own default from its next release on; unset, it prints a warning in every process.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def connect(config: ClusterConfig) -> None:
    """Join `config.address`, else the cluster that RAY_ADDRESS names or that runs on this machine, else start a local one, which ends with
    this process. Does nothing when this process is connected already."""
    if ray.is_initialized():
        return
    os.environ.update({name: value for name, value in LOCAL_ENVIRONMENT.items() if name not in os.environ})
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        ray.init(address=config.address or os.environ.get("RAY_ADDRESS") or "auto", **quiet)
    except ConnectionError:
        if config.address or os.environ.get("RAY_ADDRESS"):
            raise
        ray.init(address="local", num_cpus=config.cpus, num_gpus=config.gpus, include_dashboard=False, **quiet)
