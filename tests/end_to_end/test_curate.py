"""A recipe that curates, imitates and samples: nothing that was planted is in any file that it leaves."""

from __future__ import annotations

import json

import pytest
from support.command_line import Workplace

pytestmark = [pytest.mark.engine, pytest.mark.slow]

PLANTED = ("jane.doe@example.com", "4111 1111 1111 1111", "GB29 NWBK 6016 1331 9268 19", "AKIAIOSFODNN7EXAMPLE")
RECIPE = """
name: canary
output: runs
common:
  model: {path: "playground:0.5m", dtype: float32}
  cluster: {colocate: true}
  logging: {wandb: offline}
stages:
  - name: curate
    method: {name: curate, deduplication: {near: null}}
    data: {train: {path: rows.jsonl}}
    loop: {steps: 1}
  - name: sft
    method: {name: sft, batch_size: 16, max_tokens: 256}
    data: {train: {path: "stage:curate"}}
    loop: {steps: 2}
  - name: measured
    method: {name: evaluate}
    model: {path: "stage:sft"}
    data: {eval: {path: "stage:curate", fields: {about: meta}}}
    rewards: [{name: format, args: {regex: ""}}]
    sampling: {max_tokens: 4}
    evaluation: {prompts: 8}
    loop: {steps: 1}
"""


def test_no_planted_secret_reaches_ledger_log_or_wandb(workplace: Workplace):
    rows = [
        {"prompt": f"{n}: who has {one}?", "answer": f"It is number {n}, {one}.", "meta": one}
        for n in range(16)
        for one in PLANTED
    ]
    (workplace.folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (workplace.folder / "canary.yaml").write_text(RECIPE)
    printed = workplace.succeed("rlsys", "train", "canary.yaml")
    run = workplace.folder / "runs" / "canary"
    files = [file for file in run.rglob("*") if file.is_file()]
    names = {file.name for file in files}
    assert {"ledger.sqlite", "metrics.jsonl", "dataset.jsonl", "curation.json"} <= names
    assert any(file.suffix == ".wandb" for file in files)
    for file in files:
        content = file.read_bytes()
        assert [one for one in PLANTED if one.encode() in content] == [], file
    assert [one for one in PLANTED if one in printed] == []
    ledger = (run / "measured" / "ledger.sqlite").read_bytes()
    assert b"[EMAIL]" in ledger  # the prompts are there, and what was planted in them is not
