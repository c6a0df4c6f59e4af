"""Reward models: one learns the playground's gold from preferences; configs/reward_model/hh.yaml runs on real dialogues
with mere overrides."""

from __future__ import annotations

import gzip
import json
import math
from itertools import islice
from pathlib import Path

import pytest
import torch
from support.command_line import CONFIGS, ROOT, Run, Workplace
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rlsys.files import read_lines
from rlsys.models.reward_scale import read_scale
from rlsys.playground.letters import comparisons, gold

pytestmark = [pytest.mark.engine, pytest.mark.slow]

REAL = ROOT.parent / "shared" / "data" / "hh-rlhf" / "harmless-base-test.jsonl.gz"
LETTERS = """\
name: letters
method: {name: reward_model, batch_size: 64, max_tokens: 32, centering: 0.01}
model: {path: "playground:0.5m", dtype: float32}
data:
  train: {path: "playground:letters_preferences"}
  eval: {path: "playground:letters_preferences", split: test}
policy: {ranks: 2, learning_rate: 1.0e-3, schedule: cosine, warmup_steps: 20, tokens_per_micro_batch: 8192}
loop: {steps: 300, eval_every: 100}
cluster: {colocate: true, cpus: 2}
"""
SMALL = (
    "method.max_tokens=384",
    "method.batch_size=8",
    "method.ensemble=3",
    "model={path: 'playground:0.5m', dtype: float32}",
    "policy.ranks=2",
    "policy.learning_rate=1.0e-3",
    "policy.warmup_steps=0",
    "policy.tokens_per_micro_batch=4096",
    "loop={steps: 4, eval_every: 2, patience: 2}",
    "cluster.colocate=true",
    "cluster.cpus=2",
)
MEASURES = (
    "loss",
    "accuracy",
    "ece",
    "length_correlation",
    "label_length_correlation",
    "margin",
    "score_mean",
    "score_std",
)


@pytest.fixture(scope="module")
def letters(workplace: Workplace) -> Run:
    config = workplace.folder / "letters.yaml"
    config.write_text(LETTERS)
    return workplace.train(config, "letters", ())


def test_it_learns_which_answer_is_better(letters: Run):
    before, after = letters.summary["before"], letters.summary["after"]
    assert 0.4 < before["eval/accuracy"] < 0.6
    assert after["eval/accuracy"] > 0.85
    assert after["eval/loss"] < 0.45 < math.log(2) < before["eval/loss"]
    assert after["eval/ece"] < 0.15


def test_plain_transformers_scores_as_gold_does(letters: Run):
    """Pairs that no one saw, through the exported model."""
    model = AutoModelForSequenceClassification.from_pretrained(letters.folder.final).eval()
    tokenizer = AutoTokenizer.from_pretrained(letters.folder.final)
    rows = comparisons("test", 200)
    assert all(gold(row["letters"], row["chosen"]) > gold(row["letters"], row["rejected"]) for row in rows)
    texts = []
    for row in rows:
        for answer in (row["chosen"], row["rejected"]):
            turns = [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": answer}]
            texts.append(str(tokenizer.apply_chat_template(turns, tokenize=False)))
    batch = tokenizer(texts, return_tensors="pt", padding=True)
    with torch.no_grad():
        chosen, rejected = model(**batch).logits[:, 0].view(-1, 2).unbind(1)
    assert float((chosen > rejected).float().mean()) > 0.8
    mean, std = read_scale(letters.folder.final)
    scores = torch.cat([chosen, rejected])
    assert float(scores.mean()) == pytest.approx(mean, abs=std / 2)
    assert float(scores.std()) == pytest.approx(std, rel=0.3)


def split(folder: Path) -> Path:
    """The first rows of the real file as a data set with two splits."""
    folder.mkdir()
    with gzip.open(REAL, "rt", encoding="utf-8") as file:
        for name, rows in (("train", 600), ("test", 200)):
            with gzip.open(folder / f"{name}.jsonl.gz", "wt", encoding="utf-8") as part:
                part.writelines(islice(file, rows))
    return folder


@pytest.fixture(scope="module")
def dialogues(workplace: Workplace) -> Run:
    if not REAL.is_file():
        pytest.skip(f"{REAL} is absent: the run needs this part of HH-RLHF there")
    data = split(workplace.folder / "data")
    return workplace.train(
        CONFIGS / "reward_model/hh.yaml", "hh", (*SMALL, f"data.train.path={data}", f"data.eval.path={data}")
    )


def test_it_trains_on_real_dialogues(dialogues: Run):
    assert dialogues.steps_done() <= 4
    for when in ("before", "after"):
        assert all(math.isfinite(dialogues.summary[when][f"eval/{name}"]) for name in (*MEASURES, "spread"))
    for record in dialogues.metrics[1:]:
        assert all(
            math.isfinite(record[f"train/{name}"])
            for name in ("loss", "accuracy", "margin", "score", "spread", "learning_rate")
        )
        assert record["train/grad_norm"] > 0


def test_rows_left_out_are_counted(dialogues: Run):
    train, test = dialogues.summary["data"]
    assert (train["read"], test["read"]) == (600, 200)
    for data in (train, test):
        assert data["kept"] + data["too_long"] + data["quarantined"] == data["read"]
        assert data["kept"] > 30
    entries = [json.loads(line) for line in read_lines(dialogues.folder.quarantine)]
    assert len(entries) == train["quarantined"] + test["quarantined"] > 0


def test_the_ensemble_and_its_scale_are_there(dialogues: Run):
    mean, std = read_scale(dialogues.folder.final)
    after = dialogues.summary["after"]
    assert (mean, std) == (after["eval/score_mean"], after["eval/score_std"])
    model = AutoModelForSequenceClassification.from_pretrained(dialogues.folder.final)
    assert model.score.weight.shape[0] == 3
