"""configs/constitutional/hh.yaml, with mere overrides, on real red-team prompts and the principles that the paper's
authors published.

A tiny model learns nothing from it and writes no sense: what is shown is that both phases go through whole, and that
their ledgers tell the story.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from support.command_line import CONFIGS, ROOT, Run, Workplace

from rlsys.files import read_lines

pytestmark = [pytest.mark.engine, pytest.mark.slow]

DATA = ROOT.parent / "shared" / "data"
PROMPTS, AUTHORS = DATA / "hh-rlhf" / "harmless-base-test.jsonl.gz", DATA / "constitutional-ai"
WANTED, ROUNDS = 24, 2
LONGEST = 400
"""Characters of a dialogue: the model reads bytes."""
TINY = ("policy.ranks=1", "policy.tokens_per_micro_batch=8192")


def short(folder: Path) -> Path:
    """Real comparisons of few words, train and test."""
    with gzip.open(PROMPTS, "rt", encoding="utf-8") as file:
        rows = [
            row
            for row in map(json.loads, file)
            if max(map(len, row.values())) < LONGEST and row["chosen"] != row["rejected"]
        ]
    assert len(rows) > 300
    folder.mkdir()
    for name, part in (("train", rows[:-60]), ("test", rows[-60:])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    return folder


@pytest.fixture(scope="module")
def recipe(workplace: Workplace) -> Run:
    for needed in (PROMPTS, AUTHORS):
        if not needed.exists():
            pytest.skip(
                f"{needed} is absent: the run needs HH-RLHF's harmless prompts and the JSON files of the "
                "constitution's authors there"
            )
    data = short(workplace.folder / "data")
    dialogues = f"{{path: {data}, fields: {{messages: chosen}}}}"
    base = workplace.train(
        workplace.stage("rlhf/hh.yaml", "sft"),
        "base",
        (
            f"data.train={dialogues}",
            "data.eval=null",
            "model={path: 'playground:0.5m', dtype: float32}",
            "method.max_tokens=512",
            "policy.learning_rate=3.0e-3",
            "loop={steps: 20}",
            *TINY,
        ),
    )
    model = f"{{path: {base.folder.final}, dtype: float32}}"
    # A model of 20 steps seldom says A or B, so any probability of them is an answer; and it ends few of its texts.
    judge = f"model: {base.folder.final}, constitution: {AUTHORS}"
    sampled = ("data.max_prompt_tokens=512", "sampling.max_tokens=48")
    settings = {
        "revise": [
            f"model={model}",
            f"judge={{{judge}, max_tokens: 128, temperature: 1.0}}",
            f"method={{name: constitutional, prompts_per_step: {WANTED}, rounds: {ROUNDS}}}",
            *sampled,
        ],
        "sl_cai": [f"model={model}", "method={name: sft, batch_size: 8, max_tokens: 768}", *TINY],
        "pairs": [
            "model.dtype=float32",
            f"judge={{{judge}, min_label_mass: 0.0}}",
            f"method={{name: rlaif, prompts_per_step: {WANTED}}}",
            *sampled,
        ],
        "preference_model": [
            "model.dtype=float32",
            "method={name: reward_model, batch_size: 8, max_tokens: 768}",
            *TINY,
        ],
        "rl": [
            "model.dtype=float32",
            "method={name: ppo, prompts_per_step: 8}",
            *sampled,
            *TINY,
            "evaluation.prompts=8",
        ],
    }
    for stage in ("revise", "pairs", "rl"):
        settings[stage].append(f"data.train={dialogues}")
    settings["rl"] += [
        f"data.eval={{path: {data}, split: test, fields: {{messages: chosen}}}}",
        "critic.tokens_per_micro_batch=8192",
    ]
    settings["sl_cai"].append(f"data.also=[{dialogues}]")
    settings["preference_model"] += [f"data.also=[{{path: {data}}}]", f"data.eval={{path: {data}, split: test}}"]
    for own in settings.values():
        own += ["loop={steps: 2}", "cluster.colocate=true"]
    overrides = [f"{stage}.{override}" for stage, own in settings.items() for override in own]
    workplace.succeed("rlsys", "train", CONFIGS / "constitutional/hh.yaml", f"output={workplace.folder}", *overrides)
    return Run(workplace.folder / "cai-hh")


def rows(recipe: Run, stage: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in read_lines(recipe.path / stage / "dataset.jsonl")]


def test_answers_are_revised_by_the_authors_principles(recipe: Run):
    found = rows(recipe, "revise")
    assert found
    assert {row["round"] for row in found} <= {1, 2}
    assert all(row["principle"].startswith("harmful") for row in found)
    assert all(row["prompt"][-1]["role"] == "user" for row in found)
    metrics = Run(recipe.path / "revise").metrics[-1]
    assert {f"rounds/{number}/evasive" for number in range(ROUNDS + 1)} <= metrics.keys()


def test_the_preference_model_learned_from_soft_labels_and_from_people(recipe: Run):
    assert all(0.5 <= row["preference"] <= 1 for row in rows(recipe, "pairs"))
    summary = recipe.summary["stages"]["preference_model"]
    assert [
        data["source"].endswith(end)
        for data, end in zip(summary["data"], ("dataset.jsonl", "data", "data"), strict=True)
    ] == [True] * 3
    assert set(recipe.summary["after"]) >= {"eval/evasive_sampled", "eval/preferred_sampled"}


def test_the_story_of_a_pair_can_be_told(workplace: Workplace, recipe: Run):
    row = rows(recipe, "pairs")[0]
    told = workplace.succeed("rlsys", "trace", row["chosen_id"], "--run", recipe.path)
    assert row["principle"] in told
    assert "preference_model" in told
    report = workplace.succeed("rlsys", "report", recipe.path)
    assert row["principle"] in report
    assert (recipe.path / "report.md").exists()


def test_a_judge_that_is_the_policy_is_said(recipe: Run):
    (warning,) = recipe.summary["stages"]["revise"]["warnings"]
    assert "the judge starts from the same weights as the policy" in warning
