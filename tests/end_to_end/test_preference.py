"""Preferences, end to end: DPO with LoRA over two ranks and KTO on files in the field's columns, unusable rows counted; online DPO."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from running import CONFIGS, Run, Workplace
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlsys.files import read_lines
from rlsys.playground.letters import comparisons

pytestmark = pytest.mark.engine

TINY = "model={path: 'playground:0.5m', dtype: float32}"
HERE = ("cluster={colocate: true, cpus: 2}",)
BAD = [
    {"prompt": "q", "chosen": "a", "rejected": "a"},
    {"prompt": "q", "chosen": " ", "rejected": "a"},
    {"prompt": "q", "chosen": "a"},
    {
        "chosen": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "a"}],
        "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}],
    },
    "{broken",
]
REASONS = ("chosen and rejected are equal", "chosen is empty", "no column 'rejected'", "chosen and rejected share no prompt", "")
BAD_LABELS = [{"prompt": "q", "completion": "", "label": True}, {"prompt": "q", "completion": "a", "label": "yes"}]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def pair(row: dict[str, str]) -> dict[str, Any]:
    """The answers as messages."""
    return {"prompt": row["prompt"], **{side: [{"role": "assistant", "content": row[side]}] for side in ("chosen", "rejected")}}


ADAPTERS = (
    "model={path: 'playground:0.5m', dtype: float32, lora: {rank: 8}}",
    "policy={ranks: 2, zero_stage: 2, learning_rate: 1.0e-2, tokens_per_micro_batch: 2048, schedule: constant, warmup_steps: 0}",
    "loop={steps: 40}",
    *HERE,
)


@pytest.fixture(scope="module")
def dpo(workplace: Workplace) -> Run:
    rows = comparisons("train", 400)
    write(workplace.folder / "pairs.jsonl", [*map(pair, rows[:200]), *rows[200:], *BAD])
    write(workplace.folder / "held_out.jsonl", comparisons("test", 100))
    settings = (
        "stage={name: preference, batch_size: 64, max_tokens: 32, beta: 0.5}",
        "data.train.path=pairs.jsonl",
        "data.eval={path: held_out.jsonl}",
        *ADAPTERS,
    )
    return workplace.train(CONFIGS / "dpo.yaml", "dpo", settings)


def test_it_starts_at_the_reference_and_learns(dpo: Run):
    before, after = dpo.summary["before"], dpo.summary["after"]
    assert before["eval/loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert before["eval/margin"] == pytest.approx(0, abs=1e-4)
    first = dpo.metrics[1]
    assert first["train/loss"] == pytest.approx(math.log(2), abs=1e-4)
    # From random weights 400 pairs are learned by heart at best.
    last = dpo.metrics[-5:]
    assert sum(line["train/loss"] for line in last) / 5 < math.log(2)
    assert sum(line["train/accuracy"] for line in last) / 5 > 0.55
    assert after["eval/margin"] != 0


def test_plain_transformers_finds_the_same_margins(dpo: Run, workplace: Workplace):
    """The exported model, adapters merged, against the one that the run started from."""
    start = next((workplace.folder / "playground").glob("0.5m*"))
    models = [AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval() for path in (dpo.folder.final, start)]
    tokenizer, gaps = AutoTokenizer.from_pretrained(dpo.folder.final), []
    for row in comparisons("test", 100):
        ratios = []
        for side in ("chosen", "rejected"):
            asked = [{"role": "user", "content": row["prompt"]}]
            prompt = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
            whole = tokenizer.apply_chat_template([*asked, {"role": "assistant", "content": row[side]}], tokenize=False)
            ids = torch.tensor([tokenizer(whole, add_special_tokens=False)["input_ids"]])
            length = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
            with torch.no_grad():
                sums = [model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[length - 1 :].sum() for model in models]
            ratios.append(float(sums[0] - sums[1]))
        gaps.append(ratios[0] - ratios[1])
    after = dpo.summary["after"]
    assert 0.5 * sum(gaps) / len(gaps) == pytest.approx(after["eval/margin"], rel=1e-3, abs=1e-4)
    assert sum(gap > 0 for gap in gaps) / len(gaps) == pytest.approx(after["eval/accuracy"], abs=0.011)


def test_unusable_pairs_are_put_aside_and_counted(dpo: Run):
    train, held_out = dpo.summary["data"]
    assert (train["read"], train["kept"], train["quarantined"]) == (405, 400, len(BAD))
    assert held_out["quarantined"] == 0
    entries = [json.loads(line) for line in read_lines(dpo.folder.quarantine)]
    assert [entry["row"] for entry in entries] == list(range(401, 406))
    assert all(entry["reason"].startswith(reason) for entry, reason in zip(entries, REASONS, strict=True))


def test_log_probs_that_were_computed_beforehand_stand_for_the_reference(dpo: Run, workplace: Workplace):
    """At the start the policy is the reference: with the reference's log-probs of the rows, DPO's loss is ln 2 there, and no reference runs."""
    settings = (TINY, "stage={name: reference_log_probs, batch_size: 150, max_tokens: 32}", "reference={ranks: 1}", *HERE)
    known = workplace.train(CONFIGS / "dpo_reference.yaml", "known", (*settings, "data.train.path=pairs.jsonl"))
    assert (known.summary["steps"], known.summary["counts"]) == (3, {"dataset/rows": 400})
    assert known.summary["done"] == "every row has its log-probs"
    stage = "stage={name: preference, batch_size: 64, max_tokens: 32, beta: 0.5, precomputed: true}"
    data = (f"data.train.path={known.folder.dataset}", "data.eval=null", "loop.eval_every=0")
    run = workplace.train(CONFIGS / "dpo.yaml", "precomputed", (stage, *ADAPTERS, *data))
    losses = [line["train/loss"] for line in run.metrics if "train/loss" in line]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-4)
    assert losses[-1] != losses[0]


@pytest.fixture(scope="module")
def kto(workplace: Workplace) -> Run:
    rows = []
    for row in comparisons("train", 200):
        rows += [{"prompt": row["prompt"], "completion": row[side], "label": side == "chosen"} for side in ("chosen", "rejected")]
    random.Random(0).shuffle(rows)
    write(workplace.folder / "labelled.jsonl", [*rows, *BAD_LABELS])
    write(workplace.folder / "held_out_pairs.jsonl", comparisons("test", 100))
    settings = (
        TINY,
        "stage={name: kto, batch_size: 64, max_tokens: 32, beta: 0.5}",
        "data.train.path=labelled.jsonl",
        "data.eval={path: held_out_pairs.jsonl}",
        "policy={ranks: 1, learning_rate: 1.0e-3, tokens_per_micro_batch: 4096}",
        "loop={steps: 40}",
        *HERE,
    )
    return workplace.train(CONFIGS / "kto.yaml", "kto", settings)


def test_kto_learns_labels_and_is_measured_on_pairs(kto: Run):
    before, after = kto.summary["before"], kto.summary["after"]
    assert before["eval/loss"] == pytest.approx(0.5, abs=1e-4)
    assert sum(line["train/loss"] for line in kto.metrics[-5:]) / 5 < 0.5
    assert after["eval/pair_accuracy"] != before["eval/pair_accuracy"]
    assert all(line["train/reference_point"] >= 0 for line in kto.metrics[1:])
    assert kto.metrics[1]["train/reference_point"] == pytest.approx(0, abs=1e-4)
    train, _ = kto.summary["data"]
    assert (train["read"], train["kept"], train["quarantined"]) == (402, 400, len(BAD_LABELS))


def test_labels_of_one_kind_end_the_run_before_it_starts(kto: Run, workplace: Workplace):
    write(workplace.folder / "good.jsonl", [{"prompt": f"q{n}", "completion": "a", "label": True} for n in range(80)])
    settings = (TINY, "stage.max_tokens=32", "data.train.path=good.jsonl", "data.eval=null", "loop={steps: 1}", "policy.ranks=1", *HERE)
    done = workplace.run("rlsys", "train", CONFIGS / "kto.yaml", "name=good", f"output={workplace.folder}", *settings)
    assert done.returncode != 0
    assert "all 80 answers are labelled desirable; add undesirable ones" in done.stderr


@pytest.fixture(scope="module")
def online(workplace: Workplace) -> Run:
    settings = (
        TINY,
        "algorithm={name: online_dpo, prompts_per_step: 16, group_size: 4, mini_batches: 2, epochs: 2}",
        "policy={ranks: 2, learning_rate: 1.0e-3, tokens_per_micro_batch: 2048}",
        "data.eval=null",
        "loop={steps: 2}",
        "cluster.cpus=2",
    )
    return workplace.train(CONFIGS / "demo_preference_online.yaml", "online", settings)


def test_online_dpo_trains_on_the_best_and_the_worst(online: Run):
    counts = online.summary["counts"]
    assert sum(counts.values()) == 2 * 16
    assert counts["dataset/pairs"] > 0
    chosen = 0
    for step in (1, 2):
        groups: dict[str, list[Any]] = {}
        for sample in online.samples(step, "train"):
            groups.setdefault(sample.prompt_id, []).append(sample)
        assert len(groups) == 16
        for samples in groups.values():
            assert len(samples) == 4
            rewards = [sample.reward for sample in samples]
            sides = {sample.advantage: sample for sample in samples if sample.advantage is not None}
            if sides:
                chosen += 1
                assert (sides[1.0].reward, sides[-1.0].reward) == (max(rewards), min(rewards))
    assert chosen == counts["dataset/pairs"]
    assert online.summary["policy_version"] == 2
    for line in online.metrics[1:]:
        assert math.isfinite(line["train/loss"])
        assert line["sync/probe_gap"] < 1e-4
