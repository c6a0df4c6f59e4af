"""Which arguments our sampler gives to vLLM, as plain data, so that bare vLLM can be given the same. In a process of
its own: it imports vLLM."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from benchmarks.child import serve
from rlsys.config.actors import RolloutConfig

OURS_ALONE = {"weight_transfer_config"}
"""The receiving end of the weight sync; bare vLLM has none."""


def answer(message: dict[str, Any]) -> dict[str, Any]:
    """`engine`: arguments of `LLM` that are not its defaults. `sampling`: those of each request, but for its seed."""
    from vllm import EngineArgs, SamplingParams

    from actors.engines.spec import EngineSpec
    from actors.engines.vllm_settings import engine_args, sampling_params
    from rlsys.config.sampling import Sampling

    spec = EngineSpec(**message["spec"] | {"config": RolloutConfig(**message["spec"]["config"])})
    chosen, default = engine_args(spec), EngineArgs(model=spec.model)
    engine = {name: value for name, value in changed(chosen, default).items() if name not in OURS_ALONE}
    params, plain = sampling_params(Sampling(**message["sampling"]), seed=0), SamplingParams()
    sampling = {name: getattr(params, name) for name in SAMPLING if getattr(params, name) != getattr(plain, name)}
    return {
        "engine": {"model": spec.model} | {name: as_dictionary(value) for name, value in engine.items()},
        "sampling": sampling,
    }


def changed(chosen: Any, default: Any) -> dict[str, Any]:
    """Fields of a dataclass in which one differs from another of the same class."""
    names = [field.name for field in fields(chosen)]
    return {name: getattr(chosen, name) for name in names if getattr(chosen, name) != getattr(default, name)}


def as_dictionary(value: Any) -> Any:
    """Of a config that is an object of vLLM's own: what differs from its defaults, as a dictionary, which `LLM` takes
    in its place."""
    return changed(value, type(value)()) if is_dataclass(value) else value


SAMPLING = ("temperature", "top_p", "top_k", "max_tokens", "logprobs", "flat_logprobs", "detokenize", "skip_clone")

if __name__ == "__main__":
    serve(answer)
