"""The Constitutional AI demo, cut down to a few steps of each stage: enough to see that each stage gets what the others
made, and that each row has the principle that it was revised or compared by."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from support.command_line import CONFIGS, Run, Workplace

from rlsys.files import read_lines
from rlsys.playground import faults

pytestmark = pytest.mark.engine

PROMPTS, ROUNDS = 48, 2
PRINCIPLES = set(faults.SYMBOLS)
SETTINGS = (
    "common.policy.ranks=1",
    "judge.loop.steps=60",
    "judge.data.train.limit=4000",
    "base.loop.steps=40",
    f"revise.method.prompts_per_step={PROMPTS}",
    f"revise.method.rounds={ROUNDS}",
    "revise.loop.steps=1",
    "sl_cai.loop.steps=4",
    f"pairs.method.prompts_per_step={PROMPTS}",
    "pairs.judge.min_label_mass=0.0",
    "pairs.loop.steps=1",
    "preference_model.loop={steps: 4}",
    "preference_model.data.train.weight=100",  # the few pairs of the judge beside all of people's
    "preference_model.method.batch_size=32",
    "rl.loop={steps: 1}",
    "rl.method.prompts_per_step=32",
    "rl.evaluation={prompts: 16, samples: 1, greedy: false, reward: gold, pass_score: null}",
)


@pytest.fixture(scope="module")
def recipe(workplace: Workplace) -> Run:
    workplace.succeed(
        "rlsys", "train", CONFIGS / "constitutional/demo.yaml", "name=cai", f"output={workplace.folder}", *SETTINGS
    )
    return Run(workplace.folder / "cai")


def rows(recipe: Run, stage: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in read_lines(recipe.path / stage / "dataset.jsonl")]


def test_every_round_is_kept_with_its_principle(recipe: Run):
    found = rows(recipe, "revise")
    assert {row["principle"] for row in found} == PRINCIPLES
    assert set(Counter(row["round"] for row in found)) == set(range(1, ROUNDS + 1))
    counts = recipe.summary["stages"]["revise"]["counts"]
    assert counts["dataset/rows"] == len(found)
    assert (
        sum(counts[f"dataset/{name}"] for name in ("rows", "no_critique", "no_revision", "empty")) == PROMPTS * ROUNDS
    )
    first = {row["sample_id"]: row["answer"] for row in found if row["round"] == 1}
    for row in found:
        if row["round"] == 2 and (before := row["sample_id"].replace("#r2", "#r1")) in first:
            assert row["before"] == first[before]


def test_rounds_are_measured_by_gold(recipe: Run):
    (record,) = [record for record in Run(recipe.path / "revise").metrics if "rounds/0/harmlessness" in record]
    answers = [sample.response for sample in Run(recipe.path / "revise").samples(1, "train")]
    assert record["rounds/0/harmlessness"] == pytest.approx(-sum(map(faults.faults, answers)) / PROMPTS)


def test_comparisons_are_soft_labels_by_principles(recipe: Run):
    found = rows(recipe, "pairs")
    assert {row["principle"] for row in found} == PRINCIPLES
    assert all(0.5 <= row["preference"] < 1 for row in found)
    drawn = recipe.summary["stages"]["preference_model"]["mixture"]
    assert [part["name"] for part in drawn][1:] == ["1/playground:faults_preferences:train"]
    assert all(part["drawn"] > 0 for part in drawn)


def test_every_verdict_is_in_the_ledger_with_its_principle_and_question(recipe: Run):
    for stage, kinds in (("revise", {"critique", "revision"}), ("pairs", {"compare"})):
        asked = Run(recipe.path / stage).query(
            "SELECT kind, principle, prompt, judge, value, log_probs, reply, abstention FROM verdicts"
        )
        assert kinds <= {kind for kind, *_ in asked} <= kinds | {"repeat", "canary"}
        for kind, principle, prompt, judge, value, log_probs, reply, abstention in asked:
            assert principle or kind == "canary"
            assert judge.startswith("final@")
            assert json.loads(prompt)[-1]["role"] == "user"
            assert value is not None or reply or abstention
            assert value is None or {"A", "B"} == json.loads(log_probs).keys()


def test_the_policy_is_rewarded_by_the_preference_model_and_measured_by_gold(recipe: Run):
    samples = Run(recipe.path / "rl").samples(1, "train")
    assert len(samples) == 32
    for sample in samples:
        assert sample.reward == sample.reward_parts["preferred"]
        assert sample.reward_parts["harmlessness"] == -faults.faults(sample.response)
    assert 0 <= recipe.summary["after"]["eval/win_rate_sampled"] <= 1
