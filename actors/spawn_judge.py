"""Starts a judge: the engines or the endpoint that its settings name, and the `ModelJudge` over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch

from actors.cluster import connect
from actors.engines.spec import EngineSpec
from actors.judge import EndpointActor, EndpointBackend, EngineBackend, JudgeActor, RolloutBackend
from actors.rollout import RolloutHandle, environment
from actors.wait import fetch
from rlsys.config.experiment import ClusterConfig
from rlsys.config.judge import JudgeConfig
from rlsys.judging.asking.judge import ModelJudge
from rlsys.judging.backend import Backend, judge_identity
from rlsys.judging.build import build_judge
from rlsys.models.load import load_config, load_tokenizer, local_path
from rlsys.models.stop_tokens import stop_token_ids
from rlsys.models.version import version_of

LONGEST = 8192
"""Tokens of a question with its answer, where neither the settings nor the model allow fewer."""
Seats = Callable[[str, type, Mapping[str, str], Sequence[tuple[Any, ...]]], list[Any]]
"""Starts one actor per tuple of arguments: role, class, process environment, arguments."""


@dataclass(frozen=True)
class JudgeStarter:
    config: JudgeConfig
    output: Path
    seed: int
    seats: Seats
    on_gpu: bool
    sleeps: bool
    """Its engines share their GPUs with others, so they give the memory back between calls."""
    timeout: float
    start_timeout: float

    def start(self, rollout: RolloutHandle | None, policy: Path | None) -> ModelJudge:
        """`rollout` and `policy`, the sampler and its model, are for the backend `rollout` alone."""
        match self.config.backend:
            case "vllm":
                model = local_path(self.config.model, self.output / "playground")
                tokenizer = load_tokenizer(model)
                backend: Backend = self.engines(model, stop_token_ids(tokenizer, model, bool(tokenizer.chat_template)))
            case "openai":
                tokenizer, backend = None, self.endpoint()
            case "rollout":
                assert rollout is not None and policy is not None, "the config is checked for a sampler"  # noqa: PT018
                tokenizer, backend = load_tokenizer(policy), RolloutBackend(rollout, policy.name, self.timeout)
        specials = tokenizer.all_special_tokens if tokenizer is not None else []
        return build_judge(self.config, backend, self.output, self.seed, specials)

    def engines(self, model: Path, stop_ids: tuple[int, ...]) -> EngineBackend:
        config = self.config.engine
        own = load_config(model).get_text_config()
        # vLLM's "auto" would make bfloat16 of float32.
        own_dtype = "float32" if own.dtype == torch.float32 else "bfloat16"
        spec = EngineSpec(
            model=str(model),
            dtype=own_dtype if config.dtype == "auto" else config.dtype,
            max_model_len=config.max_model_len or min(own.max_position_embeddings, LONGEST),
            seed=self.seed,
            config=config,
            on_gpu=self.on_gpu,
            sleeps=self.sleeps,
            fixed=True,
            template_variables=self.config.template_variables,
            stop_ids=stop_ids,
        )
        actors = self.seats("judge", JudgeActor, environment(config, self.on_gpu), [(spec,)] * config.engines)
        fetch([actor.start.remote() for actor in actors], "the judge's engines to start", self.start_timeout)
        identity = judge_identity(f"{version_of(model)} {spec.dtype}", spec.template_variables)
        return EngineBackend(actors, identity, self.timeout)

    def endpoint(self) -> EndpointBackend:
        config = self.config.endpoint
        assert config is not None, "the config is checked for an endpoint"
        variables = self.config.template_variables
        (actor,) = self.seats(
            "judge", EndpointActor, {"OMP_NUM_THREADS": "1"}, [(config, self.config.model, variables)]
        )
        fetch(actor.start.remote(), "the judge's endpoint to be set up", self.start_timeout)
        return EndpointBackend(
            actor, judge_identity(f"{config.base_url} {self.config.model}", variables), config, self.timeout
        )


@contextmanager
def spawn_judge(
    config: JudgeConfig, cluster: ClusterConfig, output: Path, seed: int, timeout: float
) -> Iterator[ModelJudge]:
    """A judge alone, without a run. `timeout`: seconds for all answers of one call."""
    connect(cluster)
    on_gpu = config.backend == "vllm" and ray.cluster_resources().get("GPU", 0.0) > 0
    actors: list[Any] = []

    def seats(
        role: str, actor_class: type, environment: Mapping[str, str], arguments: Sequence[tuple[Any, ...]]
    ) -> list[Any]:
        hidden = {} if on_gpu else {"CUDA_VISIBLE_DEVICES": ""}
        options = {
            "num_cpus": 1 if actor_class is EndpointActor else config.engine.threads,
            "num_gpus": config.engine.tensor_parallel * int(on_gpu),
            "max_concurrency": 2 if actor_class is EndpointActor else 1,
            "runtime_env": {"env_vars": {"TOKENIZERS_PARALLELISM": "false", **environment, **hidden}},
        }
        started = [ray.remote(actor_class).options(**options).remote(*own) for own in arguments]
        actors.extend(started)
        return started

    starter = JudgeStarter(config, output, seed, seats, on_gpu, False, timeout, cluster.start_timeout)
    try:
        yield starter.start(None, None)
    finally:
        for actor in actors:
            ray.kill(actor)
