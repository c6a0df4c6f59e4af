"""One vLLM engine in this process, without Ray: token ids in, token ids out, and weights that arrive through vLLM's
weight-transfer API.

The process environment (`environment`) must be in place before vLLM and torch are imported, so nothing imports this
module but a process that has it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from vllm import RequestOutput, SamplingParams, TokensPrompt
from vllm.logprobs import FlatLogprobs
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.llm_engine import LLMEngine

from actors.engines.spec import EngineSpec
from actors.engines.vllm_chat import ChatModel
from actors.engines.vllm_settings import engine_args, sampling_params
from actors.weight_sync.records import Handshake, Update
from rlsys.config.sampling import Sampling
from rlsys.errors import ActorError, ConfigError, WeightSyncError
from rlsys.judging.backend import Failure, Reply, Request
from rlsys.models.decode import Decoder
from rlsys.samples import UNSAMPLED, Group, Prompt, Trajectory, stable_seed

SIGN_EVERY = 2.0
"""Seconds between signs of life of an engine that samples."""


class VllmEngine:
    """Samples whole groups and scores prompts.

    Each token carries the policy version that vLLM sampled it with. Between `start_weight_update` and `prove` the
    engine has no version and refuses to sample: weights that did not arrive whole, or that the trainer's log-probs
    contradict, are never sampled from.

    The same calls in the same order after a weight update give bitwise the same samples: all requests of a call are
    queued before the first step, each has its own seed, and an update empties the prefix cache.
    """

    def __init__(self, spec: EngineSpec) -> None:
        self.spec = spec
        self.version: int | None = None
        self._updating = False
        """Whether vLLM waits for further buckets."""
        self._whole = False
        """Whether the last bucket of the last update has been verified."""
        if spec.config.tensor_parallel > 1 and not spec.on_gpu:
            raise ConfigError(f"rollout.tensor_parallel={spec.config.tensor_parallel} needs GPUs; on CPU set it to 1")
        self.engine = LLMEngine.from_engine_args(engine_args(spec))
        self.decoder = Decoder(self.engine.get_tokenizer(), frozenset(spec.stop_ids))
        if spec.fixed:
            self.engine.set_weight_version("0")
            self.version = 0
        self._sleep()

    @property
    def vocab_size(self) -> int:
        return self.engine.model_config.get_vocab_size()

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling, tag: str) -> Iterator[Group | None]:
        """Yield each group as its last sample finishes, and None every few seconds, between two steps. An iterator that
        is closed early aborts the rest.

        Raises WeightSyncError before the first proven weight update, unless the weights are fixed; ConfigError when a
        prompt leaves no room for `sampling.max_tokens`.
        """
        if self.version is None:
            raise WeightSyncError("the sampler holds no proven weights: sync them before sampling")
        self._check_lengths(prompts, sampling)
        with self._awake():
            yield from self._run(prompts, sampling, tag)

    def _run(self, prompts: Sequence[Prompt], sampling: Sampling, tag: str) -> Iterator[Group | None]:
        said = time.monotonic()
        unfinished: dict[int, dict[int, RequestOutput]] = {row: {} for row in range(len(prompts))}
        for row, prompt in enumerate(prompts):
            for index in range(sampling.n):
                seed = stable_seed(self.spec.seed, tag, prompt.prompt_id, prompt.epoch, index)
                tokens = TokensPrompt(prompt_token_ids=list(prompt.token_ids))
                self.engine.add_request(f"{row}:{index}", tokens, sampling_params(sampling, seed, self.spec.stop_ids))
        try:
            while unfinished:
                if time.monotonic() - said > SIGN_EVERY:
                    said = time.monotonic()
                    yield None
                for output in self.engine.step():
                    assert isinstance(output, RequestOutput)
                    row, index = map(int, output.request_id.split(":"))
                    unfinished[row][index] = output
                    if len(unfinished[row]) == sampling.n:
                        outputs = unfinished.pop(row)
                        yield self._group(prompts[row], tag, [outputs[i] for i in range(sampling.n)])
        finally:
            left = [f"{row}:{i}" for row, done in unfinished.items() for i in range(sampling.n) if i not in done]
            self.engine.abort_request(left)

    def score(self, token_ids: Sequence[int]) -> list[float]:
        """log p(token | those before it) at temperature 1, nats, as long as `token_ids`; position 0 is 0.0, nothing
        predicts it."""
        params = SamplingParams(
            max_tokens=1, prompt_logprobs=0, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY
        )
        with self._awake():
            self.engine.add_request("score", TokensPrompt(prompt_token_ids=list(token_ids)), params)
            outputs: list[Any] = []
            while self.engine.has_unfinished_requests():
                outputs += self.engine.step()
        scored = outputs[0].prompt_logprobs
        return [0.0] + [at[token].logprob for at, token in zip(scored[1:], token_ids[1:], strict=True)]

    def ask(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        """As a judge: chats in, texts and log-probs of labels out. With the weights that it holds, which must be proven
        ones or fixed."""
        if self.version is None:
            raise WeightSyncError("the sampler holds no proven weights: sync them before asking it anything")
        with self._awake():
            replies = ChatModel(self.engine, self.decoder, self.spec.max_model_len, self.spec.template_variables).ask(
                requests
            )
        if self.spec.fixed:
            return replies
        version = f"weights {self.version}"
        return [replace(reply, version=version) if isinstance(reply, Reply) else reply for reply in replies]

    def init_weight_transfer_engine(self, handshake: Handshake) -> None:
        """Open the transport's receiving end and learn which tensors every update must bring."""
        with self._awake():
            self.engine.collective_rpc("init_weight_transfer_engine", kwargs={"init_info": {"handshake": handshake}})

    def start_weight_update(self) -> None:
        """The engine has no version from here on, until `prove`."""
        self.version, self._whole = None, False
        with self._awake():
            # the last update broke off between its buckets; its remains are put in order before they are overwritten
            if self._updating:
                self.engine.collective_rpc("finish_weight_update")
            self.engine.collective_rpc("start_weight_update")
        self._updating = True

    def update_weights(self, update: Update) -> None:
        """Receive, verify and load one bucket. Raises WeightSyncError that names the tensor."""
        with self._awake():
            try:
                self.engine.collective_rpc("update_weights", kwargs={"update_info": {"update": update}})
            except BaseException:
                self._updating = False  # vLLM has ended the update
                raise
        self._whole = update.last

    def finish_weight_update(self) -> None:
        """Make the loaded weights the model's. Keys and values of the old ones are forgotten."""
        if not self._whole:
            raise WeightSyncError("a weight update was finished before its last bucket came")
        with self._awake():
            self.engine.collective_rpc("finish_weight_update")
            self._updating = False
            if not self.engine.reset_prefix_cache():
                raise WeightSyncError(
                    "the prefix cache is in use: weights can only be updated between calls of generate"
                )

    def prove(
        self, version: int, sampler: Sequence[float], trainer: Sequence[Sequence[float]], tolerance: float
    ) -> float:
        """Compare what `score` said of the probe with each trainer rank's log-probs; only then are the weights
        `version`. Returns the largest gap.

        Raises WeightSyncError with both numbers when a gap is above `tolerance` (nats) or is not a number.
        """
        assert (self._whole, self._updating) == (True, False), "only a finished weight update can be proven"
        worst = 0.0
        for rank, row in enumerate(trainer):
            for position, (theirs, own) in enumerate(zip(row, sampler, strict=True)):
                gap = abs(theirs - own)
                if not gap <= tolerance:
                    raise WeightSyncError(
                        f"weights of version {version}: trainer (row {rank}) and sampler disagree on token {position} "
                        "of the probe: log-prob "
                        f"{theirs:.6f} and {own:.6f}, a gap of {gap:.2g} where {tolerance:.2g} is allowed"
                    )
                worst = max(worst, gap)
        self.engine.set_weight_version(str(version))
        self.version = version
        self._sleep()
        return worst

    @contextmanager
    def _awake(self) -> Iterator[None]:
        """Within a weight update the engine stays awake from the first call to `prove`: it has no version until
        then."""
        if self.spec.sleeps and self.engine.is_sleeping():
            self.engine.wake_up()
        try:
            yield
        finally:
            if self.version is not None:
                self._sleep()

    def _sleep(self) -> None:
        """Weights move to host memory, keys and values are dropped."""
        if self.spec.sleeps:
            self.engine.sleep(level=1)

    def _check_lengths(self, prompts: Sequence[Prompt], sampling: Sampling) -> None:
        for prompt in prompts:
            if len(prompt.token_ids) + sampling.max_tokens > self.spec.max_model_len:
                raise ConfigError(
                    f"prompt {prompt.prompt_id}: {len(prompt.token_ids)} tokens and a response of up to "
                    f"{sampling.max_tokens} exceed the "
                    f"sampler's {self.spec.max_model_len}: raise rollout.max_model_len, or lower "
                    "data.max_prompt_tokens or sampling.max_tokens"
                )

    def _group(self, prompt: Prompt, tag: str, outputs: Sequence[RequestOutput]) -> Group:
        samples = (trajectory(prompt, tag, index, output, self.decoder) for index, output in enumerate(outputs))
        return Group(prompt, tuple(samples))


def trajectory(prompt: Prompt, tag: str, index: int, output: RequestOutput, decoder: Decoder) -> Trajectory:
    """One finished request as a sample. Raises ActorError for any ending other than stop and length, and for log-probs
    that are no numbers."""
    done = output.outputs[0]
    sample_id = f"{tag}/{prompt.prompt_id}/{prompt.epoch}/{index}"
    if done.finish_reason not in ("stop", "length"):
        raise ActorError(f"sample {sample_id}: vLLM ended it with {done.finish_reason!r}")
    assert isinstance(done.logprobs, FlatLogprobs), "the sampled token's alone, flat, is what was asked for"
    assert done.weight_versions is not None
    response = list(done.token_ids)
    log_probs = list(done.logprobs.logprobs)
    assert len(log_probs) == len(response), f"sample {sample_id}: {len(log_probs)} log-probs for {len(response)} tokens"
    if not all(map(math.isfinite, log_probs)):
        raise ActorError(
            f"sample {sample_id}: the sampler gave a log-prob that is not a number; look at the policy's weights and "
            "gradients"
        )
    versions = [int(span.version) for span in done.weight_versions for _ in range(span.start, span.end)]
    before = len(prompt.token_ids)
    return Trajectory(
        sample_id=sample_id,
        prompt_id=prompt.prompt_id,
        sample_index=index,
        token_ids=[*prompt.token_ids, *response],
        loss_mask=[0] * before + [1] * len(response),
        log_probs=[0.0] * before + log_probs,
        policy_versions=[UNSAMPLED] * before + versions,
        finish_reason=done.finish_reason,
        text=decoder.text(response),
        unknown_tokens=decoder.unknown(response),
    )
