"""Which arguments our sampler gives to vLLM, as plain data, so that bare vLLM can be given the same. In a process of
its own: it imports vLLM."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from benchmarks.child import serve
from rlsys.config.actors import RolloutConfig

OURS_ALONE = {"weight_transfer_config"}
"""The receiving end of the weight sync; bare vLLM has none."""


def answer(message: dict[str, Any]) -> dict[str, Any]:
    """`engine`: arguments of vLLM that are not its defaults. `sampling`: those of each request, apart from its seed."""
    from vllm import EngineArgs, SamplingParams

    from actors.engines.spec import EngineSpec
    from actors.engines.vllm_engine import engine_args, sampling_params
    from rlsys.config.sampling import Sampling

    spec = EngineSpec(**message["spec"] | {"config": RolloutConfig(**message["spec"]["config"])})
    chosen, default = engine_args(spec), EngineArgs(model=spec.model)
    engine = {
        f.name: getattr(chosen, f.name) for f in fields(chosen) if getattr(chosen, f.name) != getattr(default, f.name)
    }
    params, plain = sampling_params(Sampling(**message["sampling"]), seed=0), SamplingParams()
    sampling = {name: getattr(params, name) for name in SAMPLING if getattr(params, name) != getattr(plain, name)}
    return {
        "engine": {"model": spec.model} | {name: value for name, value in engine.items() if name not in OURS_ALONE},
        "sampling": sampling,
    }


SAMPLING = ("temperature", "top_p", "top_k", "max_tokens", "logprobs", "flat_logprobs", "detokenize", "skip_clone")

if __name__ == "__main__":
    serve(answer)
