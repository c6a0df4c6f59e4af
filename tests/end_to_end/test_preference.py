"""Preferences, end to end: DPO with LoRA over two ranks and KTO on files in the field's columns, unusable rows counted;
online DPO."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from support.command_line import CONFIGS, Run, Workplace
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlsys.files import read_lines
from rlsys.models.version import OF_TOKENS, version_of
from rlsys.playground.letters import comparisons

pytestmark = [pytest.mark.engine, pytest.mark.slow]

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
REASONS = (
    "chosen and rejected are equal",
    "chosen is empty",
    "no column 'rejected'",
    "chosen and rejected share no prompt",
    "",
)
BAD_LABELS = [{"prompt": "q", "completion": "", "label": True}, {"prompt": "q", "completion": "a", "label": "maybe"}]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def pair(row: dict[str, str]) -> dict[str, Any]:
    """The answers as messages."""
    return {
        "prompt": row["prompt"],
        **{side: [{"role": "assistant", "content": row[side]}] for side in ("chosen", "rejected")},
    }


ADAPTERS = (
    "model={path: 'playground:0.5m', dtype: float32, adapter: {kind: lora, rank: 8}}",
    "policy={ranks: 2, zero_stage: 2, learning_rate: 1.0e-2, tokens_per_micro_batch: 2048, schedule: constant,"
    " warmup_steps: 0}",
    "loop={steps: 40}",
    *HERE,
)


@pytest.fixture(scope="module")
def dpo(workplace: Workplace) -> Run:
    rows = comparisons("train", 400)
    write(workplace.folder / "pairs.jsonl", [*map(pair, rows[:200]), *rows[200:], *BAD])
    write(workplace.folder / "held_out.jsonl", comparisons("test", 100))
    settings = (
        "method={name: dpo, batch_size: 64, max_tokens: 32, beta: 0.5}",
        "data.train.path=pairs.jsonl",
        "data.eval={path: held_out.jsonl}",
        *ADAPTERS,
    )
    return workplace.train(CONFIGS / "dpo/pairs.yaml", "dpo", settings)


def assert_rewards_are_gains(run: Run, *sides: str) -> None:
    """The reference stays as the policy began: an answer's reward is beta, 0.5, times what its log-prob has gained
    since."""
    before, after = run.summary["before"], run.summary["after"]
    gained = {side: after[f"eval/{side}_log_prob"] - before[f"eval/{side}_log_prob"] for side in sides}
    assert max(map(abs, gained.values())) > 0.01
    assert {side: after[f"eval/{side}_reward"] for side in sides} == pytest.approx(
        {side: 0.5 * gained[side] for side in sides}, abs=1e-4
    )


def test_it_starts_at_the_reference_and_learns(dpo: Run):
    before = dpo.summary["before"]
    assert before["eval/loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert before["eval/margin"] == pytest.approx(0, abs=1e-5)
    assert dpo.metrics[1]["train/loss"] == pytest.approx(math.log(2), abs=1e-5)
    # From random weights 400 pairs are learned by heart at best.
    last = dpo.metrics[-5:]
    assert sum(line["train/loss"] for line in last) / 5 < math.log(2)
    assert sum(line["train/accuracy"] for line in last) / 5 > 0.55
    assert_rewards_are_gains(dpo, "chosen", "rejected")
    for line in dpo.metrics[1:]:
        assert max(line["train/chosen_log_prob"], line["train/rejected_log_prob"]) < 0
        assert line["train/margin"] == pytest.approx(
            line["train/chosen_reward"] - line["train/rejected_reward"], abs=1e-4
        )


def plain_log_probs(path: Path, rows: Sequence[dict[str, str]]) -> list[list[float]]:
    """Of each row's chosen and rejected answer, summed over its tokens, by plain transformers."""
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval(),
        AutoTokenizer.from_pretrained(path),
    )

    def log_prob(prompt: str, answer: str) -> float:
        asked = [{"role": "user", "content": prompt}]
        before = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        whole = tokenizer.apply_chat_template([*asked, {"role": "assistant", "content": answer}], tokenize=False)
        ids = torch.tensor([tokenizer(whole, add_special_tokens=False)["input_ids"]])
        length = len(tokenizer(before, add_special_tokens=False)["input_ids"])
        with torch.no_grad():
            return float(model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[length - 1 :].sum())

    return [[log_prob(row["prompt"], row[side]) for side in ("chosen", "rejected")] for row in rows]


def start_of(workplace: Workplace) -> Path:
    """The model that all runs here start from."""
    return next((workplace.folder / "playground").glob("0.5m*"))


def test_plain_transformers_finds_the_same_margins(dpo: Run, workplace: Workplace):
    """The exported model, adapters merged, against the one that the run started from."""
    rows = comparisons("test", 100)
    after, before = (plain_log_probs(path, rows) for path in (dpo.folder.final, start_of(workplace)))
    gaps = [(new[0] - old[0]) - (new[1] - old[1]) for new, old in zip(after, before, strict=True)]
    measured = dpo.summary["after"]
    assert 0.5 * sum(gaps) / len(gaps) == pytest.approx(measured["eval/margin"], rel=1e-3, abs=1e-4)
    assert sum(gap > 0 for gap in gaps) / len(gaps) == pytest.approx(measured["eval/accuracy"], abs=0.011)


def test_unusable_pairs_are_put_aside_and_counted(dpo: Run):
    train, held_out = dpo.summary["data"]
    assert (train["read"], train["kept"], train["quarantined"]) == (405, 400, len(BAD))
    assert held_out["quarantined"] == 0
    entries = [json.loads(line) for line in read_lines(dpo.folder.quarantine)]
    assert [entry["row"] for entry in entries] == list(range(401, 406))
    assert all(entry["reason"].startswith(reason) for entry, reason in zip(entries, REASONS, strict=True))


def test_log_probs_that_were_computed_beforehand_stand_for_the_reference(dpo: Run, workplace: Workplace):
    """They are what plain transformers finds, and a run that takes them, beside no reference, goes as the one beside a
    reference went."""
    settings = (
        TINY,
        "method={name: reference_log_probs, batch_size: 150, max_tokens: 32}",
        "reference={ranks: 1}",
        *HERE,
    )
    known = workplace.train(
        workplace.stage("dpo/precomputed.yaml", "reference"),
        "known",
        (*settings, "data.train.path=pairs.jsonl", "data.shuffle=false"),
    )
    assert (known.summary["steps"], known.summary["counts"]) == (3, {"dataset/rows": 400})
    assert known.summary["done"] == "every row has its log-probs"
    assert {json.loads(line)["reference_model"] for line in read_lines(known.folder.dataset)} == {
        version_of(start_of(workplace), OF_TOKENS)
    }
    written = [json.loads(line)["reference_log_probs"] for line in read_lines(known.folder.dataset)]
    for some in (slice(0, 10), slice(200, 210)):  # answers as messages, as texts
        for found, plain in zip(
            written[some], plain_log_probs(start_of(workplace), comparisons("train", 400)[some]), strict=True
        ):
            assert found == pytest.approx(plain, abs=1e-4)
    stage = "method={name: dpo, batch_size: 64, max_tokens: 32, beta: 0.5, precomputed: true}"
    data = (
        f"data.train.path={known.folder.dataset}",
        "data.eval=null",
        "loop.eval_every=0",
        "reference={path: 'playground:0.5m'}",
    )
    run = workplace.train(CONFIGS / "dpo/pairs.yaml", "precomputed", (stage, *ADAPTERS, *data))
    losses, beside = ([line["train/loss"] for line in one.metrics if "train/loss" in line] for one in (run, dpo))
    assert losses[0] == pytest.approx(math.log(2), abs=1e-5)
    # Later, rounding of the first gradients has grown.
    assert losses[:3] == pytest.approx(beside[:3], abs=1e-3)
    assert sum(losses[-5:]) / 5 < math.log(2)


@pytest.fixture(scope="module")
def kto(workplace: Workplace) -> Run:
    rows = []
    for row in comparisons("train", 200):
        rows += [
            {"prompt": row["prompt"], "completion": row[side], "label": side == "chosen"}
            for side in ("chosen", "rejected")
        ]
    random.Random(0).shuffle(rows)
    write(workplace.folder / "labelled.jsonl", [*rows, *BAD_LABELS])
    write(workplace.folder / "held_out_pairs.jsonl", comparisons("test", 100))
    settings = (
        TINY,
        "method={name: kto, batch_size: 64, max_tokens: 32, beta: 0.5}",
        "data.train.path=labelled.jsonl",
        "data.eval={path: held_out_pairs.jsonl}",
        "policy={ranks: 1, learning_rate: 1.0e-3, tokens_per_micro_batch: 4096}",
        "loop={steps: 40}",
        *HERE,
    )
    return workplace.train(CONFIGS / "kto/labelled.yaml", "kto", settings)


def test_kto_learns_labels_and_is_measured_on_pairs(kto: Run):
    before, after = kto.summary["before"], kto.summary["after"]
    first = kto.metrics[1]
    assert (before["eval/loss"], first["train/loss"]) == pytest.approx((0.5, 0.5), abs=1e-5)
    assert (before["eval/margin"], first["train/reference_point"]) == pytest.approx((0, 0), abs=1e-5)
    assert sum(line["train/loss"] for line in kto.metrics[-5:]) / 5 < 0.5
    assert_rewards_are_gains(kto, "desirable", "undesirable")
    # Every held-out answer is one of a pair.
    assert after["eval/margin"] == pytest.approx(
        after["eval/desirable_reward"] - after["eval/undesirable_reward"], abs=1e-4
    )
    train, _ = kto.summary["data"]
    assert (train["read"], train["kept"], train["quarantined"]) == (402, 400, len(BAD_LABELS))


def test_labels_of_one_kind_end_the_run_before_it_starts(kto: Run, workplace: Workplace):
    write(workplace.folder / "good.jsonl", [{"prompt": f"q{n}", "completion": "a", "label": True} for n in range(80)])
    settings = (
        TINY,
        "method.max_tokens=32",
        "data.train.path=good.jsonl",
        "data.eval=null",
        "loop={steps: 1}",
        "policy.ranks=1",
        *HERE,
    )
    done = workplace.run(
        "rlsys", "train", CONFIGS / "kto/labelled.yaml", "name=good", f"output={workplace.folder}", *settings
    )
    assert done.returncode != 0
    assert "all 80 answers are labelled desirable; add undesirable ones" in done.stderr


@pytest.fixture(scope="module")
def online(workplace: Workplace) -> Run:
    settings = (
        TINY,
        "method={name: online_dpo, prompts_per_step: 16, group_size: 4, mini_batches: 2, epochs: 2}",
        "policy={ranks: 2, learning_rate: 1.0e-3, tokens_per_micro_batch: 4096}",
        "data.eval=null",
        "loop={steps: 2}",
        "cluster.cpus=2",
    )
    return workplace.train(CONFIGS / "online_dpo/demo.yaml", "online", settings)


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
            assert [sample.used_in_step for sample in samples].count(step) == len(sides)
            if sides:
                chosen += 1
                assert (sides[1.0].reward, sides[-1.0].reward) == (max(rewards), min(rewards))
    assert chosen == counts["dataset/pairs"]
    assert online.summary["policy_version"] == 2
    for line in online.metrics[1:]:
        assert max(line["train/chosen_log_prob"], line["train/rejected_log_prob"]) < 0
        assert line["train/margin"] == pytest.approx(
            line["train/chosen_reward"] - line["train/rejected_reward"], abs=1e-4
        )
        # Jensen: the mean of -log sigmoid(h) is no less than that of the mean margin h.
        assert math.log1p(math.exp(-line["train/margin"])) - 1e-6 <= line["train/loss"] < math.inf
        assert line["sync/probe_gap"] < 1e-4
