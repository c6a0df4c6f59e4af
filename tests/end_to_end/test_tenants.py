"""One base and three tasks' adapters in one server: they answer at the same time, each as its merged model would;
they come and go while it runs; the router chooses among them."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from support.adapted import adapted, merged, saved
from support.command_line import LIMIT, Workplace
from transformers import AutoModelForCausalLM

from rlsys.models.adapters import dora, lora, rslora
from rlsys.models.load import load_causal_lm, load_tokenizer
from rlsys.playground.models import build

pytestmark = [pytest.mark.engine, pytest.mark.slow]

BASE = "tiny"
TASKS = {"sort": lora.Config(rank=8), "add": rslora.Config(kind="rslora", rank=4), "letters": lora.Config(rank=16)}
PROMPTS = ("4926", "12+34", "adk")
TOKENS = 12
KEY = {"authorization": "Bearer k"}
ROUTER = """
rules:
  - {field: metadata.task, equals: letters, adapter: letters}
  - {regex: '^[0-9]+$', adapter: sort}
  - {regex: '\\+', adapter: add}
default: base
"""


@dataclass(frozen=True)
class Server:
    client: httpx.Client
    start: float
    """Seconds until it answered."""
    own: dict[tuple[str, str], list[int]]
    """What each merged model by itself answers to each prompt; `BASE` is the base."""

    def answer(self, model: str, prompt: str, **more: Any) -> tuple[str, list[int]]:
        """Who answered, and the tokens."""
        sampling = {"temperature": 0, "max_tokens": TOKENS, "ignore_eos": True, "return_token_ids": True}
        reply = self.client.post("/completions", json={"model": model, "prompt": prompt, **sampling, **more})
        assert reply.is_success, reply.text
        return reply.json()["model"], reply.json()["choices"][0]["token_ids"]

    def load(self, name: str, path: str) -> httpx.Response:
        return self.client.post("/load_lora_adapter", json={"lora_name": name, "lora_path": path})

    def unload(self, name: str) -> None:
        reply = self.client.post("/unload_lora_adapter", json={"lora_name": name})
        assert reply.is_success, reply.text

    def models(self) -> list[str]:
        return [model["id"] for model in self.client.get("/models").json()["data"]]


def make(folder: Path) -> dict[tuple[str, str], list[int]]:
    """The base, a run folder for each task, one of DoRA and one on another base; what the merged models answer."""
    base = build("0.5m", folder / BASE)
    own = greedy(load_causal_lm(base, torch.float32), BASE)
    for seed, (task, config) in enumerate({**TASKS, "dora": dora.Config(kind="dora", rank=8)}.items()):
        adapter = adapted(base, config)
        generator = torch.Generator().manual_seed(seed)
        for parameter in adapter.network.parameters():
            if parameter.requires_grad:
                parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
        saved(adapter, folder / task / "final" / "adapter", base)
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        model.load_state_dict(merged(adapter), strict=False)
        own |= greedy(model, task)
    other = folder / "other"
    shutil.copytree(base, other)
    (other / "config.json").write_text((other / "config.json").read_text() + "\n")
    saved(adapted(other, TASKS["sort"]), folder / "alien", other)
    return own


def greedy(model: Any, name: str) -> dict[tuple[str, str], list[int]]:
    tokenizer = load_tokenizer(Path(model.name_or_path))
    found = {}
    for prompt in PROMPTS:
        ids = torch.tensor([tokenizer.encode(prompt)])
        with torch.no_grad():
            for _ in range(TOKENS):
                ids = torch.cat([ids, model(ids).logits[:, -1].argmax(-1, keepdim=True)], dim=1)
        found[name, prompt] = ids[0, -TOKENS:].tolist()
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, ray_folder: Path) -> Iterator[Server]:
    """All three are there from the start."""
    alone = Workplace.make(tmp_path_factory.mktemp("tenants"), ray_folder)
    workplace = Workplace(alone.folder, alone.environment | {"VLLM_API_KEY": "k"})
    own = make(workplace.folder)
    (workplace.folder / "router.yaml").write_text(ROUTER)
    given = [option for task in TASKS for option in ("--adapter", f"{task}={task}")]
    began = time.monotonic()
    process = workplace.start(
        *("rlsys", "serve", BASE, *given, "--router", "router.yaml", "--port", "0"), "--", "--max-model-len", "256"
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith(f"{BASE} answers at "), process.communicate(timeout=LIMIT)[1][-3000:]
        with httpx.Client(base_url=line.split()[-1], trust_env=False, timeout=60, headers=KEY) as client:
            yield Server(client, time.monotonic() - began, own)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=LIMIT)
    finally:
        process.kill()
    assert (process.returncode, out) == (0, "stopped\n"), err[-3000:]


def at_once(server: Server, asked: Sequence[tuple[str, str]]) -> list[tuple[str, list[int]]]:
    with ThreadPoolExecutor(len(asked)) as threads:
        return list(threads.map(lambda one: server.answer(*one), asked))


def test_tenants_answer_at_the_same_time_each_as_its_merged_model(server: Server):
    asked = [(name, prompt) for prompt in PROMPTS for name in (*TASKS, BASE)]
    assert len({tuple(server.own[one]) for one in asked}) == len(asked)
    assert at_once(server, asked) == [(name, server.own[name, prompt]) for name, prompt in asked]


def test_the_router_chooses_and_the_reply_says_whom(server: Server):
    assert server.models() == [BASE, "auto", *TASKS]
    for prompt, more, who in [
        ("4926", {}, "sort"),
        ("12+34", {}, "add"),
        ("12+34", {"metadata": {"task": "letters"}}, "letters"),
        ("adk", {}, BASE),
    ]:
        assert server.answer("auto", prompt, **more) == (who, server.own[who, prompt])
    messages = [{"role": "user", "content": "4926"}]
    chat = {"model": "auto", "messages": messages, "temperature": 0, "max_tokens": 4, "stream": True}
    with server.client.stream("POST", "/chat/completions", json=chat) as lines:
        chunks = [json.loads(line.removeprefix("data: ")) for line in lines.iter_lines() if "{" in line]
    assert {chunk["model"] for chunk in chunks} == {"sort"}


def test_adapters_come_and_go_without_a_new_start(server: Server, record_property: Callable[[str, object], None]):
    """A name changes its adapter, and no prompt that was cached answers for the old one."""
    prompt = PROMPTS[0]
    assert server.answer("sort", prompt)[1] == server.own["sort", prompt]
    began = time.monotonic()
    server.unload("sort")
    assert server.load("sort", str(Path("letters") / "final")).is_success
    answered = server.answer("sort", prompt)
    swap = time.monotonic() - began
    assert answered == ("sort", server.own["letters", prompt])
    record_property("seconds until the server answered", round(server.start, 1))
    record_property("seconds of a swap and its first answer", round(swap, 3))
    assert swap < server.start / 10
    server.unload("sort")
    assert "sort" not in server.models()
    gone = server.client.post("/completions", json={"model": "sort", "prompt": prompt})
    assert (gone.status_code, "`sort` does not exist" in gone.text) == (404, True)
    assert server.load("sort", "sort").is_success
    assert server.answer("auto", prompt) == ("sort", server.own["sort", prompt])


def test_adapters_that_do_not_fit_are_refused_while_it_runs(server: Server):
    for path, message in {
        "alien": "was trained on other@",
        "dora": "is of kind dora, and vLLM serves lora, rslora and lora_plus",
        "nowhere": "no such folder: nowhere",
    }.items():
        reply = server.load("more", path)
        assert reply.status_code == 400
        assert reply.json()["error"]["message"].startswith(f"adapter more: {message}")
    assert "more" not in server.models()
    assert httpx.post(f"{server.client.base_url}load_lora_adapter", trust_env=False).status_code == 401
