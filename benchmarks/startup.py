"""Time from nothing to a sampler that is ready: our Ray actor over vLLM's own `LLM(...)`. Both with the start of the
process and its imports."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import ray

from actors.cluster import connect
from actors.rollout import RolloutActor, environment
from actors.wait import fetch
from benchmarks.child import TIMEOUT, child
from benchmarks.result import Result, interleave
from benchmarks.workload import ON_GPU, Settings, engine_arguments, engine_spec, experiment, sampling
from rlsys.roles import Spawn

WARM_UP = 1
MOST_PAIRS = 3
"""A pair takes about 17 seconds."""


def run(settings: Settings, spawn: Spawn) -> Iterator[Result]:
    config = experiment(settings)
    arguments = engine_arguments(settings, sampling(settings))
    variables = environment(config.rollout, ON_GPU)
    connect(config.cluster)
    remote: Any = ray.remote(RolloutActor).options(
        num_cpus=1, num_gpus=int(ON_GPU), runtime_env={"env_vars": variables}
    )

    def ours() -> float:
        begun = time.perf_counter()
        actor = remote.remote(engine_spec(settings))
        fetch(actor.start.remote(), "the sampling engine to start", TIMEOUT)
        seconds = time.perf_counter() - begun
        ray.kill(actor)
        return seconds

    def baseline() -> float:
        begun = time.perf_counter()
        with child("benchmarks.bare_vllm", variables, settings.log("bare_vllm")) as bare:
            bare.ask(start=arguments["engine"])
            return time.perf_counter() - begun

    if not settings.quick:
        interleave(ours, baseline, WARM_UP)
    measured = interleave(ours, baseline, min(settings.repeats, MOST_PAIRS))
    yield Result("startup", settings.size, "time: rollout actor / vLLM's LLM", "s", *measured)
