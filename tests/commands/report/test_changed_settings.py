from __future__ import annotations

from pathlib import Path

from rlsys.check.load import load
from rlsys.commands.report.changed_settings import from_defaults
from rlsys.config.document import save
from rlsys.run.folder import RunDir

CONFIG = """
name: tiny
model: {path: "playground:0.5m", adapter: {kind: lora, rank: 3}}
data: {train: {path: "playground:sort_digits", limit: 64}}
method: {name: grpo, group_size: 8, clip_high: 0.28}
rewards: [{name: exact_match}, {name: evasive, weight: 0.5}]
loop: {steps: 3, keep_last: 2}
evaluation: {samples: 1, pass_at: [1]}
"""


def test_what_is_no_default_of_a_resolved_config(tmp_path: Path):
    """What was given and is the default, as `loop.keep_last`, is not told; what a preset changes is its default."""
    (tmp_path / "given.yaml").write_text(CONFIG)
    run = RunDir(tmp_path)
    save(load(tmp_path / "given.yaml", this_machine=False), run.config)
    assert from_defaults(run) == [
        ("name", "tiny", "required"),
        ("model.path", "playground:0.5m", "required"),
        ("model.adapter.rank", "3", "16"),
        ("data.train.path", "playground:sort_digits", "required"),
        ("data.train.limit", "64", "null"),
        ("method.clip_high", "0.28", "0.2"),
        ("rewards.0.name", "exact_match", "required"),
        ("rewards.1.name", "evasive", "required"),
        ("rewards.1.weight", "0.5", "1.0"),
        ("loop.steps", "3", "null"),
        ("evaluation.pass_at", "[1]", "[]"),
    ]
