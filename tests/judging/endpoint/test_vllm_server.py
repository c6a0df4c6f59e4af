"""The OpenAI backend against vLLM's own server, held to what the model itself says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from support.openai_server import MODEL, serve
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlsys.config.judge import EndpointConfig
from rlsys.judging.backend import Message, Reply, Request
from rlsys.judging.endpoint.openai_backend import OpenAIBackend
from rlsys.playground.models import build

pytestmark = [pytest.mark.engine, pytest.mark.slow]
SCHEMA = {
    "type": "object",
    "properties": {"clear": {"enum": [1, 2]}},
    "required": ["clear"],
    "additionalProperties": False,
}
AB = ("A", "B")
SCORES = tuple(map(str, range(1, 11)))


def chat(text: str) -> tuple[Message, ...]:
    return ({"role": "system", "content": "You judge."}, {"role": "user", "content": text})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, made to differ more from chat to chat, and to say labels: those are among the 20 likeliest, and 1
    the likeliest of scores."""
    folder = build("0.5m", tmp_path_factory.mktemp("served") / "model")
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompts = [
        tokenizer.apply_chat_template(list(chat(text)), add_generation_prompt=True, return_dict=False)
        for text in ("Which?", "zz")
    ]
    with torch.no_grad():
        for weight in (weight for weight in model.model.layers.parameters() if weight.ndim == 2):
            weight *= 4
        last = torch.stack([model.model(torch.tensor([ids])).last_hidden_state[0, -1] for ids in prompts]).mean(0)
        boost = torch.tensor([3.25 if label == "1" else 3.0 for label in "AB0123456789"])
        model.lm_head.weight[[*map(ord, "AB0123456789")]] += boost[:, None] * last / last.norm() ** 2
        model.model.norm.weight *= 2
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def backend(model: Path) -> Iterator[OpenAIBackend]:
    with serve(model) as url:
        backend = OpenAIBackend(EndpointConfig(base_url=url, concurrency=8, outage_limit=1), MODEL)
        yield backend
        backend.close()


class Own:
    """The model without a server."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    def log_probs(self, messages: tuple[Message, ...], said: str = "") -> torch.Tensor:
        """Of the token that follows, over the vocabulary."""
        prompt = self.tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False) + said
        ids = self.tokenizer(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            return self.model(ids).logits[0, -1].log_softmax(-1)

    def label(self, messages: tuple[Message, ...], text: str) -> float:
        """Of saying these bytes, whatever follows."""
        return sum(float(self.log_probs(messages, text[:i])[ord(text[i])]) for i in range(len(text)))


@pytest.fixture(scope="module")
def own(model: Path) -> Own:
    return Own(model)


def test_log_probs_of_labels_are_the_models_own(backend: OpenAIBackend, own: Own):
    questions = [chat(f"{word}?") for word in ("Which", "Better", "Kinder", "Is it so", "0", "zz")]
    told = 0
    for messages, reply in zip(questions, backend.ask([Request(messages, AB) for messages in questions]), strict=True):
        assert isinstance(reply, Reply), reply
        everything = own.log_probs(messages)
        listed = set(everything.topk(20).indices.tolist())
        assert set(reply.label_log_probs) == {name for name in AB if ord(name) in listed}
        for name, log_prob in reply.label_log_probs.items():
            alike = [index for index in listed if own.tokenizer.decode([index]).strip() == name]
            assert alike == [ord(name)]
            assert log_prob == pytest.approx(float(everything[ord(name)]), abs=1e-3)
            told += 1
        assert reply.version.startswith("vllm")
        assert (reply.completion_tokens, reply.finish_reason) == (1, "length")
    assert told >= 4


def test_ten_is_told_from_one(backend: OpenAIBackend, own: Own):
    """This tokenizer writes 10 as two tokens. Chats are looked for whose greedy reply begins with 1."""
    questions = [chat(f"Score {number}.") for number in range(200)]
    greedy = [messages for messages in questions if int(own.log_probs(messages).argmax()) == ord("1")][:5]
    assert greedy
    for messages, reply in zip(greedy, backend.ask([Request(messages, SCORES) for messages in greedy]), strict=True):
        assert isinstance(reply, Reply), reply
        one, ten = own.label(messages, "1"), own.label(messages, "10")
        if ord("0") in own.log_probs(messages, "1").topk(20).indices:
            assert reply.label_log_probs["10"] == pytest.approx(ten, abs=1e-3)
            one = float(torch.tensor(one).double().exp().sub(torch.tensor(ten).double().exp()).log())
        assert reply.label_log_probs["1"] == pytest.approx(one, abs=1e-3)


def test_a_greedy_text_is_the_models_own(backend: OpenAIBackend, own: Own):
    messages = chat("Say something.")
    [reply] = backend.ask([Request(messages, max_tokens=6)])
    assert isinstance(reply, Reply), reply
    ids: list[int] = []
    for _ in range(6):
        prompt = own.tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, tokenize=True, return_dict=False
        )
        with torch.no_grad():
            ids.append(int(own.model(torch.tensor([[*prompt, *ids]])).logits[0, -1].argmax()))
    assert reply.text == own.tokenizer.decode(ids, skip_special_tokens=True)
    assert reply.prompt_tokens == len(
        own.tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, return_dict=False)
    )


def test_a_seed_repeats_a_sampled_text(backend: OpenAIBackend):
    def sample(seed: int) -> str:
        [reply] = backend.ask([Request(chat("Say something."), max_tokens=12, temperature=1.5, seed=seed)])
        assert isinstance(reply, Reply), reply
        return reply.text

    assert sample(1) == sample(1)
    assert len({sample(seed) for seed in range(4)}) > 1


def test_a_text_follows_its_schema(backend: OpenAIBackend):
    """Some seeds never get beyond the white space that JSON allows."""
    replies = backend.ask(
        [Request(chat("Rate."), max_tokens=200, schema=SCHEMA, temperature=1.0, seed=seed) for seed in range(8)]
    )
    whole = [reply.text for reply in replies if isinstance(reply, Reply) and reply.finish_reason == "stop"]
    assert whole
    for text in whole:
        jsonschema.validate(json.loads(text), SCHEMA)


def test_what_the_server_refuses_is_a_failure_with_its_reason(backend: OpenAIBackend):
    [reply] = backend.ask([Request(chat("long " * 200), max_tokens=6)])
    assert not isinstance(reply, Reply)
    assert "HTTP 400" in reply.reason
    assert "context length" in reply.reason
