"""What vLLM is told: of an engine, and of each request."""

from __future__ import annotations

from collections.abc import Sequence

from vllm import EngineArgs, SamplingParams
from vllm.config import StructuredOutputsConfig, WeightTransferConfig
from vllm.sampling_params import RequestOutputKind

from actors.engines.spec import EngineSpec
from actors.weight_sync.plugin import BACKEND
from rlsys.config.sampling import Sampling

CPU_BATCHED_TOKENS = 4096
"""Tokens of one step on CPU, at least."""


def sampling_params(sampling: Sampling, seed: int, stop_ids: Sequence[int] = ()) -> SamplingParams:
    """One sample. `logprobs=0` returns the sampled token's alone, flat in one list."""
    return SamplingParams(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        max_tokens=sampling.max_tokens,
        stop_token_ids=list(stop_ids),
        seed=seed,
        logprobs=0,
        flat_logprobs=True,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
        skip_clone=True,
    )


def engine_args(spec: EngineSpec) -> EngineArgs:
    config = spec.config
    return EngineArgs(
        model=spec.model,
        dtype=spec.dtype,  # type: ignore[arg-type]
        max_model_len=spec.max_model_len,
        max_num_seqs=config.max_num_seqs,
        # On CPU a prompt is computed in one piece: vLLM sets a request's random generator back after each piece, which
        # CPU generators can't do.
        enable_chunked_prefill=None if spec.on_gpu else False,
        max_num_batched_tokens=None if spec.on_gpu else max(spec.max_model_len, CPU_BATCHED_TOKENS),
        seed=0,
        enable_prefix_caching=config.prefix_caching,
        enforce_eager=config.runs_eager(spec.on_gpu),
        tensor_parallel_size=config.tensor_parallel,
        # Else vLLM, finding itself in a placement group, would look for bundles of one GPU; the actor's own bundle has
        # all that it needs.
        distributed_executor_backend="mp" if config.tensor_parallel > 1 else None,
        gpu_memory_utilization=config.gpu_memory_fraction,
        logprobs_mode="processed_logprobs",  # else the temperature is missing from the log-probs
        # JSON that obeys a schema could else be spaces without end; the setting exists per engine only.
        structured_outputs_config=StructuredOutputsConfig(backend="xgrammar", disable_any_whitespace=True),
        weight_transfer_config=WeightTransferConfig(backend=BACKEND),
        enable_sleep_mode=spec.sleeps,
        disable_log_stats=True,
        use_tqdm_on_load=False,
    )
