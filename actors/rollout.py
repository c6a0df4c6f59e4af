"""The sampler: Ray actors with a vLLM engine each, and their handle."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ray

from actors.fleet import GONE, Fleet
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
        """Stream finished groups, a few at a time, and what there is, if only an empty list, as a sign of life."""
        finished: list[Group] = []
        for group in self.engine.generate(prompts, sampling, tag):
            if group is not None:
                finished.append(group)
            if group is None or len(finished) == per_item:
                yield finished
                finished = []
        if finished:
            yield finished

    def ask(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        """As a judge."""
        return self.engine.ask(requests)

    def sign(self) -> None:
        """Of life."""

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


@dataclass(frozen=True, slots=True)
class Share:
    """What one engine was asked for, and its answer."""

    number: int
    actor: Any
    asked: Sequence[Prompt]
    unfinished: dict[tuple[str, int], Prompt]
    """Prompts of which a group is wanted and has not come, by `key`."""
    stream: Any


@dataclass(slots=True)
class Clock:
    """When something was last heard in one call of `generate`."""

    finished: float
    """Groups of any engine."""
    heard: dict[int, float] = field(default_factory=dict)
    """Anything, by engine: what one is asked for later waits until it is done with what came before."""


class RolloutHandle:
    """Implements `roles.Rollout` over one or more engines."""

    def __init__(self, fleet: Fleet, spec: EngineSpec, vocab_size: int, timeout: float) -> None:
        """The fleet's engines are of `spec`; `timeout` is the longest wait (seconds) for any single answer."""
        self.fleet = fleet
        self.timeout = timeout
        self.vocab_size = vocab_size
        self.max_model_len = spec.max_model_len
        self.fixed = spec.fixed
        config = spec.config
        self.per_item = min(GROUPS_PER_ITEM, config.queue_groups)
        self.items = config.queue_groups // self.per_item
        self.renew: Callable[[], object] = self.fleet.join
        """Gives successors of dead engines what they need to sample."""

    @property
    def actors(self) -> Sequence[Any]:
        return self.fleet.actors

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling, tag: str) -> Iterator[Group]:
        """Deal the prompts out in turn, and yield groups as they finish anywhere. An engine pauses when it has
        `queue_groups` waiting here. Take them all: an engine finishes what it was asked for, even if nobody takes it.

        What a dead or silent engine has not finished is dealt out again, to the others at once, or to its successor.
        Raises WaitTimeout when no engine finishes anything for `timeout` seconds, ActorError with the cause when one
        dies and has no successor.
        """
        if self.fixed:
            self.fleet.adopt()
        clock = Clock(time.monotonic())
        shares = deque(self._deal(prompts, {key(prompt) for prompt in prompts}, sampling, tag, clock))
        while shares:
            share = self._ready(shares, tag, clock)
            try:
                groups = self._heard(share, tag)
            except GONE as error:
                self.fleet.bury(share.number, share.actor, error)
                shares.extend(self._again(share, sampling, tag, clock))
                continue
            for group in groups or ():
                if share.unfinished.pop(key(group.prompt), None):
                    yield group
            clock.heard[share.number] = time.monotonic()
            if groups is None:
                continue
            if groups:
                clock.finished = time.monotonic()
            shares.append(share)  # at the end: a busy engine can't hold back the others

    def _again(self, share: Share, sampling: Sampling, tag: str, clock: Clock) -> Iterator[Share]:
        """What a dead engine has not finished. An only engine's successor gets the whole call, as the same calls give
        bitwise the same samples."""
        alone = len(self.fleet.actors) == 1
        prompts = share.asked if alone else [*share.unfinished.values()]
        return self._deal(prompts, {*share.unfinished}, sampling, tag, clock)

    def _deal(
        self, prompts: Sequence[Prompt], wanted: set[tuple[str, int]], sampling: Sampling, tag: str, clock: Clock
    ) -> Iterator[Share]:
        """Over the living engines, and over the successors if there are no others; nothing if nothing is wanted."""
        if not wanted:
            return
        if not self.fleet.living():
            self.renew()
        living = self.fleet.living()
        for place, number in enumerate(living):
            if own := prompts[place :: len(living)]:
                actor = self.fleet.actors[number]
                method = actor.generate.options(num_returns="streaming", _generator_backpressure_num_objects=self.items)
                # A quarter of a small share at a time, so that scoring begins while sampling goes on.
                per_item = min(self.per_item, max(1, len(own) // 4))
                unfinished = {key(prompt): prompt for prompt in own if key(prompt) in wanted}
                stream = method.remote(own, sampling, tag, per_item)
                clock.heard[number] = time.monotonic()
                yield Share(number, actor, own, unfinished, stream)

    def _ready(self, shares: deque[Share], tag: str, clock: Clock) -> Share:
        """Take out the first share that has something to say, or whose engine has been silent for too long. Raises
        WaitTimeout when no engine finishes anything for `timeout` seconds."""
        while time.monotonic() - clock.finished < self.timeout:
            streams = [share.stream for share in shares]
            ready, _ = ray.wait(streams, num_returns=1, timeout=min(self.limit, self.timeout))
            long_ago = time.monotonic() - self.limit
            speaking = {share.number for share in shares if told(share)}
            silent = (one for one in shares if clock.heard[one.number] < long_ago and one.number not in speaking)
            found = next(silent, None) or next((share for share in shares if ready and share.stream is ready[0]), None)
            if found is not None:
                shares.remove(found)
                return found
        numbers = ", ".join(str(share.number) for share in shares)
        raise WaitTimeout(f"waited {self.timeout:g} s for a finished group of {tag} from sampling engine {numbers}")

    def _heard(self, share: Share, tag: str) -> list[Group] | None:
        """The groups that wait in the stream, none being a sign of life; None at its end."""
        if not told(share):
            raise WaitTimeout(f"waited {self.limit:g} s for a sign of life from sampling engine {share.number} ({tag})")
        item = next(share.stream, None)
        if item is None:
            return None
        return fetch(item, f"groups of {tag} from sampling engine {share.number}", self.timeout)

    @property
    def limit(self) -> float:
        """Seconds of silence after which an engine counts as dead."""
        return self.fleet.stall


def key(prompt: Prompt) -> tuple[str, int]:
    """What tells the prompts of a call apart."""
    return prompt.prompt_id, prompt.epoch


def told(share: Share) -> bool:
    """Whether something waits in its stream."""
    return bool(ray.wait([share.stream], timeout=0)[0])
