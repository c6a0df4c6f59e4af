"""The judge's model under Ray: engines of its own, an endpoint, or the sampling engines; and the handle that a
`ModelJudge` asks."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import ray

from actors.rollout import RolloutHandle
from actors.wait import fetch
from rlsys.config.judge import EndpointConfig
from rlsys.errors import WaitTimeout
from rlsys.judging.backend import Failure, Reply, Request

if TYPE_CHECKING:
    from actors.engines.spec import EngineSpec
    from actors.engines.vllm_engine import VllmEngine
    from rlsys.judging.endpoint.openai_backend import OpenAIBackend

PORTION = 1024
"""Requests that one engine is sent at once, at most: what the time limit is for."""
LOOK_EVERY = 5.0
"""Seconds between looks at an endpoint that may be away."""


class JudgeActor:
    """One vLLM engine that nothing trains. `start` is the heavy part."""

    def __init__(self, spec: EngineSpec) -> None:
        self.spec = spec

    def start(self) -> None:
        from actors.engines.vllm_engine import (
            VllmEngine,
        )  # not at the top: the driver, which has another environment, imports this file

        self.engine: VllmEngine = VllmEngine(self.spec)

    def ask(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        return self.engine.ask(requests)


class EndpointActor:
    """An OpenAI-compatible endpoint. It says whether it is away while it asks, so it has two threads."""

    def __init__(self, config: EndpointConfig, model: str, template_variables: Mapping[str, bool | int | str]) -> None:
        self.config, self.model, self.template_variables = config, model, template_variables

    def start(self) -> None:
        from rlsys.judging.endpoint.openai_backend import OpenAIBackend  # importing openai takes a second

        self.backend: OpenAIBackend = OpenAIBackend(self.config, self.model, template_variables=self.template_variables)

    def ask(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        return self.backend.ask(requests)

    def away(self) -> tuple[float, str] | None:
        """For how many seconds, and why; None while it is there."""
        since = self.backend.away_since
        return None if since is None else (time.monotonic() - since, self.backend.away_reason)


class EngineBackend:
    """Implements `judging.backend.Backend` with engines that have an `ask`: the judge's own, or the sampler's."""

    def __init__(self, actors: Sequence[Any], identity: str, timeout: float) -> None:
        """`timeout`: seconds for one portion."""
        self.actors, self.identity, self.timeout = list(actors), identity, timeout

    def ask(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        """A portion at a time, each dealt out to the engines in turn."""
        size = PORTION * len(self.actors)
        return [
            reply for start in range(0, len(requests), size) for reply in self.portion(requests[start : start + size])
        ]

    def portion(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        count = len(self.actors)
        calls = [actor.ask.remote(requests[i::count]) for i, actor in enumerate(self.actors) if requests[i::count]]
        shares = fetch(calls, f"the judge's engines to answer {len(requests)} questions", self.timeout)
        replies: dict[int, Reply | Failure] = {}
        for first, share in enumerate(shares):
            replies |= zip(range(first, len(requests), count), share, strict=True)
        return [replies[i] for i in range(len(requests))]


class EndpointBackend:
    """Implements `judging.backend.Backend` with an `EndpointActor`. Says so, in the run's own log, while the endpoint
    is away."""

    def __init__(self, actor: Any, identity: str, config: EndpointConfig, timeout: float) -> None:
        self.actor, self.identity, self.config, self.timeout = actor, identity, config, timeout

    def ask(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        call = self.actor.ask.remote(list(requests))
        deadline, told = time.monotonic() + (limit := self.limit(len(requests))), False
        while not ray.wait([call], num_returns=1, timeout=LOOK_EVERY)[0]:
            if time.monotonic() > deadline:
                raise WaitTimeout(f"waited {limit:g} s for {self.identity} to answer {len(requests)} questions")
            away = fetch(self.actor.away.remote(), "news of the judge's endpoint", self.timeout)
            if away is not None:  # the actor limits every outage, of which there may be several
                deadline = time.monotonic() + limit
            if away is not None and not told:
                told = True
                tell(
                    f"the judge {self.identity} is away since {away[0]:.0f} s ({away[1]}): the run waits for it, up to "
                    f"judge.endpoint.outage_limit={self.config.outage_limit:g} s"
                )
        replies = fetch(call, f"{self.identity} to answer {len(requests)} questions", self.timeout)
        if told:
            tell(f"the judge {self.identity} is back: the run goes on")
        return replies

    def limit(self, count: int) -> float:
        """Seconds, outages aside, beyond which the actor must have kept its own limits: the slowest possible attempts
        one after the other."""
        config = self.config
        attempts = (config.retries + 1) * (config.timeout + config.max_wait)
        pace = 60 / config.requests_per_minute if config.requests_per_minute else 0.0
        return self.timeout + 2 * attempts * -(-count // config.concurrency) + count * pace * (config.retries + 1)


class RolloutBackend(EngineBackend):
    """The policy judges: the sampling engines with whatever weights they hold."""

    def __init__(self, rollout: RolloutHandle, model: str, timeout: float) -> None:
        super().__init__(rollout.actors, f"{model} (the policy itself)", timeout)
        self.rollout = rollout

    def ask(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        """Of those that hold proven weights."""
        fleet = self.rollout.fleet
        if not fleet.living():
            self.rollout.renew()
        self.actors = [fleet.actors[number] for number in fleet.living()]
        return super().ask(requests)


def tell(line: str) -> None:
    """To whoever watches the driver."""
    sys.stderr.write(f"{line}\n")
