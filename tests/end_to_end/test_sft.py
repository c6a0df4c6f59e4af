"""The shipped SFT and pre-training configs on small files of one's own: early stopping, a mixture, unusable rows; raw
text is learned."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from support.command_line import CONFIGS, Run, Workplace
from transformers import AutoModelForCausalLM, BatchEncoding

from rlsys.config.dataset import DatasetConfig
from rlsys.data.collate import collate
from rlsys.data.load import load_demonstrations
from rlsys.files import read_lines
from rlsys.models.load import load_tokenizer
from rlsys.playground.models import build

pytestmark = [pytest.mark.engine, pytest.mark.slow]

CHAT = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|system|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""Ends turns in a token that is not the model's EOS, as when ChatML is taught to a base model."""
EOS, END_OF_TURN = 258, 259
TINY = (
    "model.path=base",
    "model.dtype=float32",
    "policy={ranks: 1, learning_rate: 3.0e-3, tokens_per_micro_batch: 8192, packing: packed}",
)
EVERY, PATIENCE, BATCH, MOST = 5, 2, 16, 200


def word(chance: random.Random) -> str:
    """Random letters can be memorised but not foretold: whoever goes on learning them gets worse at new ones."""
    return "".join(chance.choices("abcdefgh", k=8))


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def early(workplace: Workplace) -> Run:
    base = build("0.5m", workplace.folder / "base")
    (base / "chat_template.jinja").write_text(CHAT)
    chance = random.Random(0)
    instructions = [{"instruction": word(chance), "input": "", "output": word(chance)} for _ in range(30)]
    broken = [{"instruction": "x", "input": ""}, {"instruction": "x", "input": "", "output": "  "}]
    chats = [
        {"messages": [{"role": role, "content": word(chance)} for role in ("user", "assistant", "user", "assistant")]}
        for _ in range(20)
    ]
    write(workplace.folder / "instructions.jsonl", instructions[:20] + broken)
    write(workplace.folder / "held_out.jsonl", instructions[20:])
    write(workplace.folder / "chats.jsonl", chats[:5])
    settings = (
        f"method={{name: sft, batch_size: {BATCH}, max_tokens: 128}}",
        "data.train.path=instructions.jsonl",
        "data.train.split=train",
        "data.train.weight=2",
        "data.also=[{path: chats.jsonl}]",
        "data.mix_temperature=3",
        "data.eval.path=held_out.jsonl",
        "data.eval.split=train",
        f"loop={{steps: {MOST}, eval_every: {EVERY}, patience: {PATIENCE}, keep_last: 1}}",
    )
    return workplace.train(CONFIGS / "sft/instructions.yaml", "early", (*TINY, *settings))


def test_it_stops_when_held_out_rows_get_no_better(early: Run):
    nll = {line["step"]: line["eval/nll"] for line in early.metrics if "eval/nll" in line}
    ends = max(nll)
    best = min((step for step in nll if step), key=lambda step: nll[step])
    assert list(nll) == list(range(0, ends + 1, EVERY))
    assert nll[best] < 0.8 * nll[0]
    assert ends == best + PATIENCE * EVERY < MOST
    summary = early.summary
    assert (summary["steps"], summary["best_step"], summary["after"]["eval/nll"]) == (ends, best, nll[best])


def test_its_model_is_the_best_one(early: Run):
    """Measured anew, from the exported model and in plain PyTorch, a row at a time."""
    tokenizer = load_tokenizer(early.folder.final)
    path = str(early.path.parent / "held_out.jsonl")
    config = DatasetConfig(path=path, prompt_format="{instruction}\n\n{input}", fields={"answer": "output"})
    model: Any = AutoModelForCausalLM.from_pretrained(early.folder.final)
    total, count = 0.0, 0
    for row in load_demonstrations(config, tokenizer, 128, True, None).rows:
        batch = collate([row], 0)
        with torch.no_grad():
            log_probs_TV = model(batch.token_ids_BT).logits[0, :-1].log_softmax(-1)
        trained = batch.loss_mask_BT[0, 1:]
        total -= float(log_probs_TV[torch.arange(len(trained)), batch.token_ids_BT[0, 1:]][trained].sum())
        count += int(trained.sum())
    assert count == 10 * 9  # eight letters and the end of each answer
    assert total / count == pytest.approx(early.summary["after"]["eval/nll"], rel=1e-4)


def test_plain_transformers_stops_where_its_turns_were_taught_to_end(early: Run):
    final = early.folder.final
    model: Any = AutoModelForCausalLM.from_pretrained(final)
    tokenizer = load_tokenizer(final)
    assert json.loads((final / "generation_config.json").read_text())["eos_token_id"] == [EOS, END_OF_TURN]
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "abcdefgh\n\n"}], add_generation_prompt=True, return_tensors="pt"
    )
    assert isinstance(asked, BatchEncoding)
    answer = model.generate(**asked, max_new_tokens=50, do_sample=False)[0, asked["input_ids"].shape[1] :].tolist()
    assert answer.index(END_OF_TURN) == len(answer) - 1 < 20


def test_the_summary_shows_the_balance_and_what_was_left_out(early: Run):
    """Twenty rows that weigh twice and five: 40 and 5, at temperature 3 cube roots, 2 to 1."""
    summary = early.summary
    big, small = summary["mixture"]
    assert (big["rows"], small["rows"]) == (20, 5)
    assert big["share"] == pytest.approx(2 / 3)
    assert big["drawn"] + small["drawn"] == summary["steps"] * BATCH
    assert big["drawn"] / (summary["steps"] * BATCH) == pytest.approx(2 / 3, abs=0.1)
    assert [(data["kept"], data["quarantined"]) for data in summary["data"]] == [(20, 2), (5, 0), (10, 0)]
    aside = [json.loads(line) for line in read_lines(early.folder.quarantine)]
    assert [row["row"] for row in aside] == [21, 22]


def test_raw_text_is_learned(workplace: Workplace):
    """Counting: each number follows from the one before. A block holds parts of several documents, each ended by
    EOS."""
    (workplace.folder / "corpus").mkdir()
    for first in range(100, 900, 20):
        (workplace.folder / "corpus" / f"{first}.txt").write_text(
            " ".join(str(number) for number in range(first, first + 20))
        )
    write(workplace.folder / "held_out_texts.jsonl", [{"text": " ".join(str(number) for number in range(900, 920))}])
    settings = (
        "method={name: sft, tokens: all, batch_size: 16, max_tokens: 64}",
        "data.train={path: corpus}",
        "data.eval={path: held_out_texts.jsonl}",
        "loop={steps: 30, eval_every: 10}",
    )
    run = workplace.train(CONFIGS / "sft/pretrain.yaml", "pretrained", (*TINY, *settings))
    tokens = 40 * (20 * 3 + 19 + 1)  # per document: digits, blanks, EOS; a block has a BOS and 63 of them
    assert run.summary["data"][0]["blocks"] == -(-tokens // 63)
    before, after = run.summary["before"], run.summary["after"]
    assert before["eval/nll"] == pytest.approx(5.57, abs=0.3)  # ln 262, nearly: the model knows nothing
    assert after["eval/nll"] < 2.5
    assert after["eval/perplexity"] == pytest.approx(2.718281828 ** after["eval/nll"], rel=1e-6)
    assert run.metrics[-1]["train/nll"] < 0.5 * run.metrics[1]["train/nll"]
