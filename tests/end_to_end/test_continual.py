"""A sequence of tasks as a user runs it: an adapter for each task, every task measured after each."""

from __future__ import annotations

import json

import pytest
from support.command_line import CONFIGS, Workplace

pytestmark = [pytest.mark.engine, pytest.mark.slow]


def test_isolated_tasks_and_the_matrix_of_scores(workplace: Workplace):
    settings = [
        "continual.against={kind: isolation}",
        "common.model.adapter={kind: lora, rank: 2}",
        "common.loop.steps=1",
        *(f"continual.measure.{task}.evaluation.prompts=8" for task in ("sort", "letters")),
    ]
    printed = workplace.succeed("rlsys", "train", CONFIGS / "continual/sequence.yaml", *settings, "output=runs")
    folder = workplace.folder / "runs" / "demo-sequence"
    found = json.loads((folder / "continual.json").read_text())
    scores = {
        name: json.loads((folder / name / "summary.json").read_text())["score"]
        for name in ("sort_on_sort", "base_on_letters", "letters_on_letters")
    }
    assert found["tasks"] == ["sort", "letters"]
    assert found["matrix"] == [
        [scores["sort_on_sort"], scores["base_on_letters"]],
        [scores["sort_on_sort"], scores["letters_on_letters"]],
    ]
    assert (found["forgetting"], found["backward_transfer"]) == (0, 0)
    assert "backward transfer" in printed
