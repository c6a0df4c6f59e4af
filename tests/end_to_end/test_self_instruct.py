"""Self-Instruct with a tiny model of random weights on the real sampler: it writes nothing that can be used, and that
is what the run says."""

from __future__ import annotations

import json

import pytest
from support.command_line import CONFIGS, Workplace

from rlsys.run.folder import RunDir
from rlsys.run.ledger import Ledger
from rlsys.run.metrics import MetricsLog

pytestmark = [pytest.mark.engine, pytest.mark.slow]

SEEDS = [
    {
        "id": f"seed_{number}",
        "instruction": text,
        "instances": [{"input": given, "output": output}],
        "is_classification": label,
    }
    for number, (text, given, output, label) in enumerate(
        (
            ("Write a friendly greeting for a new neighbour.", "", "Welcome!", False),
            ("Give the plural form of this noun.", "mouse", "mice", False),
            ("Is the mood of this sentence good or bad?", "I am glad.", "good", True),
        )
    )
]
SETTINGS = (
    "model={path: 'playground:0.5m', dtype: float32}",
    "data.train.path=seeds.jsonl",
    "data.max_prompt_tokens=960",
    "sampling={temperature: 1.0, top_p: 1.0, max_tokens: 48}",
    "method.prompts_per_step=4",
    "loop={steps: 2, checkpoint_every: 0}",
)


def test_a_model_that_can_not_write_leaves_no_row_and_every_reason(workplace: Workplace):
    lines = [
        *map(json.dumps, SEEDS),
        '{"instruction": "broken',
        '{"instruction": "no instances", "is_classification": false}',
    ]
    (workplace.folder / "seeds.jsonl").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    done = workplace.run(
        "rlsys", "train", CONFIGS / "self_instruct/seed_tasks.yaml", f"output={workplace.folder}", *SETTINGS
    )
    run = RunDir(workplace.folder / "self-instruct")
    assert done.returncode == 1, done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "not one row was made" in line]
    assert "instruction" in line, "the reasons"
    assert len(run.quarantine.read_text(encoding="utf-8").splitlines()) == 2
    for number, record in enumerate(MetricsLog.read(run.metrics), start=1):
        assert record["dataset/rows"] == 0
        assert record["rollout/samples"] >= 4
        with Ledger(run.ledger, read_only=True) as ledger:
            samples = ledger.samples(number, "train")
        assert len(samples) == record["rollout/samples"]
        assert all("Add 8 more tasks" in sample.prompt for sample in samples if "-instructions/" in sample.sample_id)
    trace = workplace.succeed("rlsys", "trace", "train-1-instructions/instructions:0/0/0", "--run", run.path)
    assert "advantage: none" in trace
