"""Plain vLLM in a plain process: the baseline of rollouts and of start-up. Nothing of ours is imported but the pipe."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.child import serve


class Sampler:
    """Answers `start` (engine arguments), then `requests` (once; prompts and sampling parameters) and `generate`
    (seeds)."""

    def __call__(self, message: dict[str, Any]) -> dict[str, Any]:
        match message:
            case {"start": arguments}:
                from vllm import LLM

                self.llm = LLM(**arguments)
                return {}
            case {"prompts": prompts, "sampling": sampling}:
                self.prompts, self.sampling = prompts, sampling
                return {}
            case {"seeds": seeds}:
                return self.generate(seeds)
        raise ValueError(f"no such request: {sorted(message)}")

    def generate(self, seeds: list[int]) -> dict[str, Any]:
        """One sample per prompt and seed; the time is that of `LLM.generate` alone."""
        from vllm import SamplingParams, TokensPrompt
        from vllm.sampling_params import RequestOutputKind

        kind = RequestOutputKind.FINAL_ONLY
        prompts = [TokensPrompt(prompt_token_ids=ids) for ids in self.prompts]
        params = [SamplingParams(**self.sampling, seed=seed, output_kind=kind) for seed in seeds]
        started = time.perf_counter()
        outputs = self.llm.generate(prompts, params, use_tqdm=False)
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "tokens": sum(len(output.outputs[0].token_ids) for output in outputs)}


if __name__ == "__main__":
    serve(Sampler())
