"""Chats to a vLLM engine: texts, and exact log-probs of labels."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jinja2 import TemplateError
from vllm import RequestOutput, SamplingParams, TokensPrompt
from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams
from vllm.v1.engine.llm_engine import LLMEngine

from rlsys.errors import ConfigError
from rlsys.judging.backend import Failure, Message, Reply, Request
from rlsys.models.decode import Decoder

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ChatModel:
    """An engine with its tokenizer, and the tokens that end a reply. It must be free: every call takes it to the end of
    its requests."""

    engine: LLMEngine
    decoder: Decoder
    max_model_len: int
    template_variables: Mapping[str, bool | int | str] = field(default_factory=dict)

    @property
    def tokenizer(self) -> Any:
        return self.decoder.tokenizer

    def ask(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        """In order. Texts are sampled together, labels are scored together. A question too long for the model is a
        Failure."""
        started = time.monotonic()
        prompts = [self.prompt(request.messages) for request in requests]
        replies: list[Reply | Failure | None] = [self.too_long(*pair) for pair in zip(prompts, requests, strict=True)]
        fits = [row for row, reply in enumerate(replies) if reply is None]
        texts = [row for row in fits if not requests[row].labels]
        labelled = [row for row in fits if requests[row].labels]
        outputs = self.run(
            [prompts[row] for row in texts], [text_params(requests[row], self.decoder.stop_ids) for row in texts]
        )
        for row, output in zip(texts, outputs, strict=True):
            replies[row] = self.text(output)
        for row, scores in zip(
            labelled, self.label_log_probs([(prompts[row], requests[row].labels) for row in labelled]), strict=True
        ):
            replies[row] = Reply("", "stop", scores, len(prompts[row]), 1)
        seconds = (time.monotonic() - started) / max(1, len(requests))  # of the engine's time, each request's share
        return [_timed(reply, seconds) for reply in replies if reply is not None]

    def prompt(self, messages: Sequence[Message]) -> Tokens:
        """Raises ConfigError where the tokenizer's chat template is missing or refuses the chat."""
        if not self.tokenizer.chat_template:
            raise ConfigError(
                f"judge.model: the tokenizer {self.tokenizer.name_or_path!r} has no chat template; take a model made "
                "for chats"
            )
        chat = [dict(message) for message in messages]
        try:
            text = self.tokenizer.apply_chat_template(
                chat, tokenize=False, add_generation_prompt=True, **self.template_variables
            )
        except TemplateError as error:
            raise ConfigError(
                f"judge.templates: the chat template of the judge's model refuses a chat of the roles "
                f"{', '.join(message['role'] for message in chat)} ({' '.join(str(error).split())}); where it knows no "
                "system role, give a file "
                f'with `system: ""`'
            ) from error
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def too_long(self, prompt: Tokens, request: Request) -> Failure | None:
        # A label's own tokens but the last are part of the question.
        answer = max((len(self.tokens(label)) for label in request.labels), default=request.max_tokens)
        if len(prompt) + answer <= self.max_model_len:
            return None
        return Failure(
            f"the question has {len(prompt)} tokens and the answer up to {answer}; the judge's engine sees "
            f"{self.max_model_len}: raise "
            f"judge.engine.max_model_len (rollout.max_model_len where the policy judges)"
        )

    def tokens(self, label: str) -> Tokens:
        return tuple(self.tokenizer(label, add_special_tokens=False)["input_ids"])

    def label_log_probs(self, questions: Sequence[tuple[Tokens, tuple[str, ...]]]) -> list[dict[str, float]]:
        """By label, at temperature 1. A label of several tokens takes one more question for each token after its
        first."""
        asked: dict[tuple[int, Tokens], set[int]] = {}
        for row, (_, labels) in enumerate(questions):
            for tokens in map(self.tokens, labels):
                for place in range(len(tokens)):
                    asked.setdefault((row, tokens[:place]), set()).add(tokens[place])
        prompts = [questions[row][0] + before for row, before in asked]
        outputs = self.run(prompts, [label_params(sorted(wanted)) for wanted in asked.values()])
        known: dict[tuple[int, Tokens], float] = {
            (row, (*before, token)): found.logprob
            for (row, before), output in zip(asked, outputs, strict=True)
            for token, found in output.outputs[0].logprobs[0].items()  # type: ignore[index]
        }
        scores = []
        for row, (_, labels) in enumerate(questions):
            tokens = {label: self.tokens(label) for label in labels}
            whole = {own: sum(known[row, own[: end + 1]] for end in range(len(own))) for own in tokens.values()}
            scores.append(exactly({label: (own, whole[own]) for label, own in tokens.items()}))
        return scores

    def run(self, prompts: Sequence[Tokens], params: Sequence[SamplingParams]) -> list[RequestOutput]:
        for row, (prompt, own) in enumerate(zip(prompts, params, strict=True)):
            self.engine.add_request(f"chat:{row}", TokensPrompt(prompt_token_ids=list(prompt)), own)
        done: dict[int, RequestOutput] = {}
        while len(done) < len(prompts):
            for output in self.engine.step():
                assert isinstance(output, RequestOutput)
                done[int(output.request_id.removeprefix("chat:"))] = output
        return [done[row] for row in range(len(prompts))]

    def text(self, output: RequestOutput) -> Reply | Failure:
        done = output.outputs[0]
        if done.finish_reason not in ("stop", "length"):
            return Failure(f"vLLM ended the reply with {done.finish_reason!r}")
        return Reply(
            self.decoder.text(done.token_ids),
            done.finish_reason,
            {},
            len(output.prompt_token_ids or ()),
            len(done.token_ids),
        )


def exactly(labels: Mapping[str, tuple[Tokens, float]]) -> dict[str, float]:
    """Of each label, the log-probability that the reply is it and none of the longer labels that begin with it: p("1")
    - p("10")."""
    scores: dict[str, float] = {}
    for label, (tokens, log_prob) in sorted(labels.items(), key=lambda item: -len(item[1][0])):
        # Of longer labels what they themselves leave of theirs, or "100" would be taken from "1" twice.
        longer = [scores[other] for other, (own, _) in labels.items() if own != tokens and own[: len(tokens)] == tokens]
        left = 1 - sum(math.exp(other - log_prob) for other in longer) if log_prob > -math.inf else 1.0
        scores[label] = log_prob + math.log(left) if left > 0 else -math.inf
    return scores


def text_params(request: Request, stop_ids: Collection[int]) -> SamplingParams:
    return SamplingParams(
        temperature=request.temperature,
        max_tokens=request.max_tokens,
        stop_token_ids=list(stop_ids),
        seed=request.seed,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
        structured_outputs=StructuredOutputsParams(json=dict(request.schema)) if request.schema is not None else None,
    )


def label_params(wanted: list[int]) -> SamplingParams:
    return SamplingParams(
        temperature=1.0,
        max_tokens=1,
        seed=0,
        logprob_token_ids=wanted,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def _timed(reply: Reply | Failure, seconds: float) -> Reply | Failure:
    if isinstance(reply, Failure):
        return reply
    return Reply(
        reply.text, reply.finish_reason, reply.label_log_probs, reply.prompt_tokens, reply.completion_tokens, seconds
    )
