"""Rejection sampling end to end: a model that has hardly learned anything, and a verifier that is content with any
equation."""

from __future__ import annotations

import json
from collections import Counter
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from support.command_line import CONFIGS, Run, Workplace

from rlsys.config import yaml_file
from rlsys.data.reasoning import equations
from rlsys.files import read_lines
from rlsys.playground.tasks import rows as playground_rows

pytestmark = pytest.mark.engine

PROMPTS, SAMPLES, CAP = 64, 6, 3
OVERRIDES = (
    "sft.loop.steps=120",
    "sft.policy.ranks=1",
    f"reject.method={{name: rft, prompts_per_step: {PROMPTS // 2}, samples: {SAMPLES}, path: equations, "
    f"demonstration: shown, most_per_prompt: {CAP}}}",
    f"reject.data.train.limit={PROMPTS}",
    r"reject.rewards=[{name: format, args: {regex: '\d\+\d=\d'}}]",
    "reject.loop.steps=2",
    'reject.evaluation={prompts: 16, samples: 4, pass_at: [1, 2, 4], majority: true, answer_after: "="}',
    "rft.loop.steps=2",
    "rft.policy.ranks=1",
)
STAGES = ("sft", "reject", "rft")


@pytest.fixture(scope="module")
def printed(workplace: Workplace) -> str:
    """The demo's first three stages, cut down."""
    recipe, _ = yaml_file.read(CONFIGS / "rft" / "demo.yaml")
    recipe |= {"name": "rft", "stages": [stage for stage in recipe["stages"] if stage["name"] in STAGES]}
    (workplace.folder / "recipe.yaml").write_text(yaml_file.dump(recipe))
    return workplace.succeed("rlsys", "train", "recipe.yaml", f"output={workplace.folder}", *OVERRIDES)


@pytest.fixture(scope="module")
def recipe(workplace: Workplace, printed: str) -> Run:
    return Run(workplace.folder / "rft")


@pytest.fixture(scope="module")
def rows(recipe: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in read_lines(recipe.path / "reject" / "dataset.jsonl")]


def test_no_path_comes_twice_and_none_was_shown(rows: list[dict[str, Any]]):
    shown = {row["prompt"]: row["answer"] for row in playground_rows("chain", "train")}
    paths = {(row["prompt"], tuple(row["path"])) for row in rows}
    assert len(paths) == len(rows) > 0
    assert max(Counter(row["prompt"] for row in rows).values()) <= CAP
    for row in rows:
        assert tuple(row["path"]) == equations(row["answer"]) != equations(shown[row["prompt"]])
        assert row["truth"] == shown[row["prompt"]]


def test_every_sample_is_counted_once(recipe: Run, rows: list[dict[str, Any]], printed: str):
    summary = recipe.summary["stages"]["reject"]
    counts = {
        name.removeprefix("dataset/"): count for name, count in summary["counts"].items() if "difficulty" not in name
    }
    counts.pop("prompts_without_any")
    assert counts["accepted"] == len(rows)
    assert sum(counts.values()) == PROMPTS * SAMPLES == summary["samples"]
    by_difficulty = Counter[str]()
    for name, count in summary["counts"].items():
        by_difficulty[name.rpartition("/")[2]] += count if "difficulty" in name else 0
    assert (by_difficulty["prompts"], by_difficulty["rows"]) == (PROMPTS, len(rows))
    assert f"{len(rows):,} accepted" in printed


def test_a_row_leads_to_its_sample_and_to_who_read_it(recipe: Run, rows: list[dict[str, Any]], workplace: Workplace):
    reject = Run(recipe.path / "reject")
    samples = {sample.sample_id: sample for step in (1, 2) for sample in reject.samples(step, "train")}
    for row in rows:
        sample = samples[row["sample_id"]]
        assert (sample.response, sample.reward, sample.prompt_id, sample.step) == (
            row["answer"],
            1.0,
            row["prompt_id"],
            row["step"],
        )
    story = workplace.succeed("rlsys", "trace", rows[0]["sample_id"], "--run", recipe.path)
    assert f"data set: {reject.folder.dataset}:1: it is sample_id" in story
    assert "read by stage rft (sft) as data.also.0" in story
    drawn = {part["name"]: part["rows"] for part in recipe.summary["stages"]["rft"]["mixture"]}
    assert drawn[f"1/{reject.folder.dataset}:train"] == len(rows)


def test_pass_at_k_is_that_of_the_samples_in_the_ledger(recipe: Run, printed: str):
    after = recipe.summary["stages"]["reject"]["after"]
    right: dict[str, list[bool]] = {}
    for sample in Run(recipe.path / "reject").samples(2, "eval"):
        if "sampled" in sample.sample_id:
            right.setdefault(sample.prompt_id, []).append(sample.reward == 1)
    assert {len(own) for own in right.values()} == {4}
    for k in (1, 2, 4):
        expected = fmean(fmean(any(drawn) for drawn in combinations(own, k)) for own in right.values())
        assert after[f"eval/pass@{k}_sampled"] == pytest.approx(expected)
        assert f"held-out pass@{k}, sampled" in printed
    assert 0 <= after["eval/maj@4_sampled"] <= 1


@pytest.mark.slow
def test_a_model_is_measured_by_its_greedy_answers_alone(recipe: Run, workplace: Workplace):
    measured = "evaluation={prompts: 16, samples: 1, pass_at: [1]}"
    verifier = r"rewards=[{name: format, args: {regex: '\d\+\d=\d'}}]"
    settings = (f"model.path={recipe.path / 'sft' / 'final'}", "sampling.temperature=0", measured, verifier)
    run = workplace.train(workplace.stage("rft/demo.yaml", "rft_measured"), "greedy", settings)
    said: dict[bool, dict[str, str]] = {True: {}, False: {}}
    for sample in run.samples(1, "eval"):
        said["greedy" in sample.sample_id][sample.prompt_id] = sample.response
    assert len(said[True]) == 16
    assert said[True] == said[False]
    assert run.summary["after"]["eval/pass@1_sampled"] == run.summary["after"]["eval/accuracy_greedy"]


@pytest.mark.slow
def test_a_run_without_any_row_says_so(workplace: Workplace):
    settings = ("method.samples=2", "method.prompts_per_step=4", "data.eval=null", "evaluation={}")
    done = workplace.run(
        "rlsys",
        "train",
        workplace.stage("rft/demo.yaml", "reject"),
        "name=none",
        f"output={workplace.folder}",
        *settings,
    )
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if "not one row" in line]
    assert "not one row was made of 8 samples" in line
    assert not (Path(workplace.folder) / "none" / "dataset.jsonl").exists()
