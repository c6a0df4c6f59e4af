"""What one does with a trained model, with real engines: sample it beside the base, talk to it, measure it, serve it.
The models were taught two answers each."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
import torch
from huggingface_hub import save_torch_state_dict
from support.command_line import LIMIT, Workplace
from transformers import AutoModelForCausalLM

from rlsys.config.dataset import DatasetConfig
from rlsys.data.chat import Renderer
from rlsys.models.load import load_tokenizer
from rlsys.playground.models import build

pytestmark = [pytest.mark.engine, pytest.mark.slow]

PROMPT, OTHER = "Hello", "Sort: 4 2 9"
BASE, RUN = "base", "trained"
SAYS = {BASE: {PROMPT: "good day", OTHER: "4 2 9"}, RUN: {PROMPT: "hi", OTHER: "2 4 9"}}
GREEDY = ("--temperature", "0", "--max-tokens", "16")


@pytest.fixture(scope="module")
def models(workplace: Workplace) -> None:
    """Two models that were taught what to say, one of them as a run leaves it."""
    run = workplace.folder / RUN
    run.mkdir()
    (run / "config.yaml").write_text("name: trained\nmethod: {name: sft}\n")
    teach(build("0.5m", workplace.folder / BASE), SAYS[BASE])
    teach(build("0.5m", run / "final"), SAYS[RUN])
    (run / "summary.json").write_text("{}")


def teach(folder: Path, answers: dict[str, str]) -> None:
    """Until it knows them by heart."""
    renderer = Renderer.create(DatasetConfig(path="taught"), load_tokenizer(folder))
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    rows = [renderer.demonstration(prompt, answer) for prompt, answer in answers.items()]
    losses = torch.ones(len(rows))
    for _ in range(200):
        labels = [[token if trained else -100 for token, trained in zip(*row, strict=True)] for row in rows]
        pairs = zip(rows, labels, strict=True)
        losses = torch.stack([model(torch.tensor([ids]), labels=torch.tensor([own])).loss for (ids, _), own in pairs])
        if losses.max() < 0.02:
            break
        optimizer.zero_grad()
        losses.sum().backward()
        optimizer.step()
    assert losses.max() < 0.02
    save_torch_state_dict(dict(model.named_parameters()), folder, metadata={"format": "pt"})


def test_base_and_trained_answer_side_by_side(workplace: Workplace, models: None):
    prompts = ("--prompt", PROMPT, "--prompt", OTHER)
    out = workplace.succeed("rlsys", "sample", BASE, RUN, *prompts, *GREEDY, "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(row["prompt"], row["model"], row["response"]) for row in rows] == [
        (prompt, name, SAYS[name][prompt]) for prompt in (PROMPT, OTHER) for name in (BASE, RUN)
    ]
    assert {row["finish_reason"] for row in rows} == {"stop"}


def test_a_chat_over_a_pipe(workplace: Workplace, models: None):
    (workplace.folder / "said.txt").write_text(f"{PROMPT}\n/new\n{OTHER}\n/quit\nnot read\n")
    out = workplace.succeed("sh", "-c", f"rlsys chat {RUN} {' '.join(GREEDY)} < said.txt")
    assert out == "hi\n2 4 9\n"


def test_models_measured_in_one_table(workplace: Workplace, models: None):
    """The base is right about one row of three, the run's model about two."""
    truths = [(PROMPT, "good day"), (PROMPT, "hi"), (OTHER, "2 4 9")]
    rows = [json.dumps({"prompt": prompt, "answer": truth}) + "\n" for prompt, truth in truths]
    (workplace.folder / "known.jsonl").write_text("".join(rows))
    asked = ("--data", "known.jsonl", "--reward", "exact_match", "--max-tokens", "16")
    out = workplace.succeed("rlsys", "evaluate", BASE, RUN, *asked, "--name", "measured")
    result = json.loads((workplace.folder / "runs" / "measured" / "evaluation.json").read_text())
    accuracies = [one["measures"]["accuracy_greedy"] for one in result["models"]]
    assert accuracies == pytest.approx([1 / 3, 2 / 3])
    (row,) = [line.split() for line in out.splitlines() if "accuracy" in line]
    assert [cell for cell in row if cell.startswith("0.")] == ["0.333", "0.667"]


def test_the_final_model_is_served(workplace: Workplace, models: None):
    """Until SIGTERM; then nothing of it is left."""
    process = workplace.start("rlsys", "serve", RUN, "--port", "0", "--", "--max-model-len", "256")
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("trained answers at http://127.0.0.1:"), process.communicate(timeout=LIMIT)[1][-3000:]
        client = openai.OpenAI(base_url=line.split()[-1], api_key="none", http_client=httpx2.Client(trust_env=False))
        assert [model.id for model in client.models.list()] == [RUN]
        messages: Any = [{"role": "user", "content": PROMPT}]
        reply = client.chat.completions.create(model=RUN, messages=messages, temperature=0, max_tokens=16)
        assert reply.choices[0].message.content == "hi"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=LIMIT)
    finally:
        process.kill()
    assert (process.returncode, out) == (0, "stopped\n"), err[-3000:]
    assert not [title for title in workplace.running() if "api_server" in title or "EngineCore" in title]
