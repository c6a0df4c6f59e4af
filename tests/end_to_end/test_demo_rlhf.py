"""The RLHF demo, cut down to a few steps of each stage: too few to learn anything, enough to see that each stage gets
what the others made."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest
from support.command_line import CONFIGS, Run, Workplace

from rlsys.files import read_lines
from rlsys.playground.letters import gold

pytestmark = [pytest.mark.engine, pytest.mark.slow]

GOLD = "gold"
STAGES = ["sft", "prefer", "prefer_test", "reward_model", "ppo"]
PROMPTS, STEPS, SAMPLES = 96, 2, 32
SETTINGS = (
    "common.policy.ranks=1",
    "sft.loop.steps=30",
    f"prefer.loop.steps={STEPS}",
    f"prefer.method.prompts_per_step={PROMPTS}",
    "prefer.method.label_noise=0.25",
    "prefer_test.loop.steps=1",
    f"prefer_test.method.prompts_per_step={PROMPTS}",
    "reward_model.loop={steps: 4}",
    "reward_model.method.batch_size=64",
    "ppo.loop={steps: 2}",
    f"ppo.method.prompts_per_step={SAMPLES}",
    "ppo.evaluation={prompts: 16, samples: 1, greedy: false, pass_score: null}",
)


@pytest.fixture(scope="module")
def printed(workplace: Workplace) -> str:
    return workplace.succeed(
        "rlsys", "train", CONFIGS / "rlhf/demo.yaml", "name=demo", f"output={workplace.folder}", *SETTINGS
    )


@pytest.fixture(scope="module")
def recipe(workplace: Workplace, printed: str) -> Run:
    return Run(workplace.folder / "demo")


def pairs(recipe: Run, stage: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in read_lines(recipe.path / stage / "dataset.jsonl")]


def test_one_summary_and_one_table_for_the_whole(recipe: Run, printed: str):
    assert list(recipe.summary["stages"]) == STAGES
    assert 0 <= recipe.summary["stages"]["reward_model"]["after"]["eval/accuracy"] <= 1
    for when in ("before", "after"):
        assert -6 <= recipe.summary[when][f"eval/{GOLD}_sampled"] <= 6
    assert recipe.summary["before"]["eval/kl_sampled"] == pytest.approx(0, abs=1e-3)
    assert recipe.summary["after"]["eval/kl_sampled"] != 0
    for row in ("sft: held-out nll", "reward_model: held-out accuracy", "held-out kl, sampled"):
        assert row in printed


def test_the_pairs_are_the_annotator_s(recipe: Run):
    for stage, prompts, split in (("prefer", PROMPTS * STEPS, "train"), ("prefer_test", PROMPTS, "test")):
        rows, counts = pairs(recipe, stage), recipe.summary["stages"][stage]["counts"]
        turned = [row for row in rows if row["chosen_score"] < row["rejected_score"]]
        assert counts.pop("dataset/mislabelled") == len(turned)
        assert (len(turned) > 0) == (stage == "prefer")
        assert counts["dataset/rows"] == len(rows) > prompts / 2
        assert sum(counts.values()) == prompts
        for row in rows:
            assert row["prompt_id"].startswith(f"{split}:")
            assert [row[f"{which}_score"] for which in ("chosen", "rejected")] == [
                gold(row["prompt"], row[which]) for which in ("chosen", "rejected")
            ]


def test_the_answers_are_the_warm_up_s(recipe: Run):
    """They come from weights that nobody trained any further, and every one is in the ledger."""
    summary = recipe.summary["stages"]["prefer"]
    assert (summary["model"], summary["policy_version"], summary["samples"]) == (None, 0, 2 * PROMPTS * STEPS)
    responses = {sample.sample_id: sample for step in (1, 2) for sample in Run(recipe.path / "prefer").samples(step)}
    for row in pairs(recipe, "prefer"):
        assert [responses[row[f"{which}_id"]].response for which in ("chosen", "rejected")] == [
            row["chosen"],
            row["rejected"],
        ]
    assert {version for sample in responses.values() for version in sample.policy_versions} == {-1, 0}


def test_ppo_is_rewarded_by_the_reward_model_and_measured_by_gold(recipe: Run):
    for step in (1, 2):
        samples = Run(recipe.path / "ppo").samples(step, "train")
        assert len(samples) == SAMPLES
        for sample in samples:
            assert sample.reward == sample.reward_parts["reward_model"]
            letters = sample.prompt.removeprefix("<|bos|><|user|>").removesuffix("<|assistant|>")
            assert sample.reward_parts[GOLD] == gold(letters, sample.response)


def test_it_goes_on_at_the_stage_where_it_stopped(recipe: Run, workplace: Workplace):
    """The whole is not finished, and neither is one stage, of which nothing but its settings is left; the others are
    not touched."""
    rows, summary = pairs(recipe, "prefer_test"), recipe.summary
    stopped = Run(recipe.path / "prefer_test")
    kept = [recipe.path / stage / "summary.json" for stage in STAGES if stage != "prefer_test"]
    written = [path.stat().st_mtime_ns for path in kept]
    for file in (recipe.folder.summary, stopped.folder.summary):
        file.unlink()
    shutil.rmtree(stopped.folder.checkpoints)
    workplace.succeed("rlsys", "resume", recipe.path)
    assert pairs(recipe, "prefer_test") == rows
    assert [path.stat().st_mtime_ns for path in kept] == written
    assert recipe.summary["after"] == summary["after"]
    assert recipe.summary["stages"]["prefer_test"]["counts"] == summary["stages"]["prefer_test"]["counts"]
