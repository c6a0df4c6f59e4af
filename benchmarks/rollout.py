"""Sampled tokens/s through our handle under Ray, over `LLM.generate` in a plain process: same engine arguments,
environment, requests, seeds."""

from __future__ import annotations

import time
from collections.abc import Iterator

from actors.rollout import environment
from benchmarks.child import child
from benchmarks.result import Aim, Result, interleave
from benchmarks.workload import ON_GPU, Settings, engine_arguments, experiment, prompts, sampling, started
from rlsys.errors import RlsysError
from rlsys.roles import Spawn
from rlsys.samples import stable_seed

AIM = Aim(0.95, more_is_better=True)
WARM_UP = 1


def run(settings: Settings, spawn: Spawn) -> Iterator[Result]:
    config = experiment(settings)
    questions, how = prompts(settings), sampling(settings)
    arguments = engine_arguments(settings, how)
    variables = environment(config.rollout, ON_GPU)
    with (
        started(settings, spawn) as roles,
        child("benchmarks.bare_vllm", variables, settings.log("bare_vllm")) as bare,
    ):
        rollout = roles.rollout
        assert rollout is not None
        bare.ask(start=arguments["engine"])
        bare.ask(
            prompts=[prompt.token_ids for prompt in questions for _ in range(how.n)], sampling=arguments["sampling"]
        )
        sampled: list[tuple[int, int]] = []

        def ours() -> float:
            tag = f"benchmark-{len(sampled)}"
            begun = time.perf_counter()
            groups = list(rollout.generate(questions, how, tag))
            seconds = time.perf_counter() - begun
            sampled.append((sum(sample.response_length for group in groups for sample in group.trajectories), 0))
            return sampled[-1][0] / seconds

        def baseline() -> float:
            tag = f"benchmark-{len(sampled) - 1}"
            seeds = [
                stable_seed(config.seed, tag, prompt.prompt_id, prompt.epoch, i)
                for prompt in questions
                for i in range(how.n)
            ]
            answer = bare.ask(seeds=seeds)
            sampled[-1] = (sampled[-1][0], answer["tokens"])
            return answer["tokens"] / answer["seconds"]

        interleave(ours, baseline, WARM_UP)
        measured = interleave(ours, baseline, settings.repeats)
    if any(one != other for one, other in sampled):
        raise RlsysError(f"both samplers should give the same samples, but their numbers of tokens differ: {sampled}")
    details = {"requests": len(questions) * how.n, "tokens per call": sampled[-1][0]}
    yield Result("rollout", settings.size, "tokens/s: RolloutHandle / bare vLLM", "tokens/s", *measured, AIM, details)
