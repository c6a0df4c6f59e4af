"""The sampler: Ray actors with a vLLM engine each, and their handle."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import ray

from actors.wait import fetch
from rlsys.config.actors import RolloutConfig
from rlsys.config.sampling import Sampling
from rlsys.errors import WaitTimeout
from rlsys.judging.backend import Failure, Reply, Request
from rlsys.samples import Group, Prompt

if TYPE_CHECKING:
    from actors.engines.spec import EngineSpec
    from actors.engines.vllm_engine import VllmEngine
    from actors.weight_sync.records import Handshake, Update

GROUPS_PER_ITEM = 8
"""Finished groups travel together, up to so many: a message per group would cost more than sampling a small model."""


def environment(config: RolloutConfig, on_gpu: bool) -> dict[str, str]:
    """Process environment of an engine; must be set before torch is imported there."""
    general = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the actor steps the engine itself, in its own process
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_NO_USAGE_STATS": "1",
        "OMP_NUM_THREADS": str(config.threads),
    }
    if on_gpu:
        return general
    compiler = {"TORCHDYNAMO_DISABLE": "1"} if config.runs_eager(on_gpu) else {}
    return (
        general | compiler | {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_CPU_KVCACHE_SPACE": str(config.kv_cache_gib)}
    )


class RolloutActor:
    """One engine. `start` is the heavy part; everything else needs it. The weight-transfer methods are those of vLLM's
    API."""

    def __init__(self, spec: EngineSpec) -> None:
        self.spec = spec

    def start(self) -> int:
        """Load the model; returns its vocabulary's size."""
        from actors.engines.vllm_engine import (
            VllmEngine,
        )  # not at the top: the driver, which has another environment, imports this file

        self.engine: VllmEngine = VllmEngine(self.spec)
        return self.engine.vocab_size

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling, tag: str, per_item: int) -> Iterator[list[Group]]:
        """Stream finished groups, a few at a time."""
        finished: list[Group] = []
        for group in self.engine.generate(prompts, sampling, tag):
            finished.append(group)
            if len(finished) == per_item:
                yield finished
                finished = []
        if finished:
            yield finished

    def ask(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        """As a judge."""
        return self.engine.ask(requests)

    def init_weight_transfer_engine(self, handshake: Handshake) -> None:
        self.engine.init_weight_transfer_engine(handshake)

    def start_weight_update(self) -> None:
        self.engine.start_weight_update()

    def update_weights(self, update: Update) -> None:
        self.engine.update_weights(update)

    def finish_weight_update(self) -> None:
        self.engine.finish_weight_update()

    def score(self, token_ids: Sequence[int]) -> list[float]:
        return self.engine.score(token_ids)

    def prove(
        self, version: int, sampler: Sequence[float], trainer: Sequence[Sequence[float]], tolerance: float
    ) -> float:
        return self.engine.prove(version, sampler, trainer, tolerance)


class RolloutHandle:
    """Implements `roles.Rollout` over one or more engines."""

    def __init__(self, actors: Sequence[Any], spec: EngineSpec, vocab_size: int, timeout: float) -> None:
        """`actors` are started ones of `spec`; `timeout` is the longest wait (seconds) for any single answer."""
        self.actors = list(actors)
        self.timeout = timeout
        self.vocab_size = vocab_size
        self.max_model_len = spec.max_model_len
        config = spec.config
        self.per_item = min(GROUPS_PER_ITEM, config.queue_groups)
        self.items = config.queue_groups // self.per_item

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling, tag: str) -> Iterator[Group]:
        """Deal the prompts out in turn, and yield groups as they finish anywhere. An engine pauses when it has
        `queue_groups` waiting here. Take them all: an engine finishes what it was asked for, even if nobody takes it.

        Raises WaitTimeout when no engine finishes anything for `timeout` seconds, ActorError with the cause when one
        dies.
        """
        streams: deque[tuple[int, Any]] = deque()
        for number, actor in enumerate(self.actors):
            if share := prompts[number :: len(self.actors)]:
                method = actor.generate.options(num_returns="streaming", _generator_backpressure_num_objects=self.items)
                # A quarter of a small share at a time, so that scoring begins while sampling goes on.
                per_item = min(self.per_item, max(1, len(share) // 4))
                streams.append((number, method.remote(share, sampling, tag, per_item)))
        while streams:
            number, stream = self._ready(streams, tag)
            try:
                item = next(stream)
            except StopIteration:
                continue
            streams.append((number, stream))  # at the end: a busy engine can't hold back the others
            yield from fetch(item, f"groups of {tag} from sampling engine {number}", self.timeout)

    def _ready(self, streams: deque[tuple[int, Any]], tag: str) -> tuple[int, Any]:
        """Take out the first stream that has something to say."""
        ready, _ = ray.wait([stream for _, stream in streams], num_returns=1, timeout=self.timeout)
        if not ready:
            numbers = ", ".join(str(number) for number, _ in streams)
            raise WaitTimeout(f"waited {self.timeout:g} s for a finished group of {tag} from sampling engine {numbers}")
        found = next(entry for entry in streams if entry[1] is ready[0])
        streams.remove(found)
        return found
