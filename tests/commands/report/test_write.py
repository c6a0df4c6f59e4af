from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlsys.commands.report.write import report
from rlsys.errors import RunError
from rlsys.run.ledger import Ledger
from rlsys.samples import UNSAMPLED, Prompt, Score, ScoredGroup, Trajectory, Verdict


def group(verdicts: tuple[Verdict, ...], **scores: Score) -> ScoredGroup:
    samples = [
        Trajectory(name, "p", i, [5, 6], [0, 1], [0.0, -1.0], [UNSAMPLED, 0], "stop", "x")
        for i, name in enumerate(scores)
    ]
    return ScoredGroup(Prompt("p", "?", (5,)), tuple(samples), tuple(scores.values()), verdicts)


def verdict(name: str, kind: str, principle: str, value: float | None, *ids: str) -> Verdict:
    return Verdict(
        name, kind, ids, principle, "j", "[]", "", {}, value, lengths=(3,) * len(ids), seconds=0.5, prompt_tokens=10
    )


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    folder = tmp_path / "cai"
    for stage, method in (
        ("revise", "constitutional"),
        ("label", "rlaif"),
        ("rl", "grpo"),
    ):
        (folder / stage).mkdir(parents=True)
        (folder / stage / "config.yaml").write_text(
            f"name: {stage}\nmethod: {{name: {method}}}\nloop: {{steps: 9}}\njudge: {{model: j}}\n"
        )
    (folder / "sft").mkdir()  # has not begun
    stages = "".join(f"  - {{name: {name}, config: {name}.yaml}}\n" for name in ("revise", "label", "sft", "rl"))
    (folder / "recipe.yaml").write_text(f"name: cai\nstages:\n{stages}")
    with Ledger(folder / "revise" / "ledger.sqlite") as ledger:
        revised = verdict("s#r1/revision/0", "revision", "kind", None, "s")
        ledger.record(1, [group((revised,), s=Score(0.0, {"gold": 1.0, "evasive": 1.0}))], {}, "train")
        ledger.record(1, [group((), **{"s#r1": Score(0.0, {"gold": 2.5, "evasive": 0.0})})], {}, "beside")
    with Ledger(folder / "label" / "ledger.sqlite") as ledger:
        labels = (
            verdict("a~1/compare/0", "compare", "kind", 0.9, "a", "b"),
            verdict("a~1/compare/1", "compare", "kind", 0.3, "b", "a"),
        )
        ledger.record(
            1,
            [
                group(
                    labels,
                    a=Score(0.8, {"preference": 0.8, "gold": 1.0}),
                    b=Score(0.2, {"preference": 0.2, "gold": 0.0}),
                )
            ],
            {},
            "train",
        )
        other = (verdict("c~1/compare/0", "compare", "honest|true", 0.6, "c", "d"),)
        ledger.record(
            2,
            [
                group(
                    other,
                    c=Score(0.6, {"preference": 0.6, "gold": 0.0}),
                    d=Score(0.4, {"preference": 0.4, "gold": 1.0}),
                )
            ],
            {},
            "train",
        )
    lines = [
        {"step": step, "time": 0, "eval/gold_sampled": step / 4, "eval/gold_greedy": 9.0, "train/loss": 1.0}
        for step in range(0, 12, 4)
    ]
    (folder / "rl" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_a_recipe_that_is_under_way(recipe: Path):
    text = report(recipe)
    assert (recipe / "report.md").read_text() == text
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## revise: constitutional",
        "## label: rlaif",
        "## rl: grpo",
    ]
    revise, label, rl = text.split("\n## ")[1:]
    assert "Not finished: step 0 of 9." in revise
    assert "| answers sampled to train on | 1 | 1.000 |\n| revisions of round 1 | 1 | 0.000 |" in revise
    assert (
        "| round | answers | evasive | gold |\n| --- | ---: | ---: | ---: |\n| 0 | 1 | 1.000 | 1.000 |\n| 1 | 1 "
        "| 0.000 | 2.500 |" in revise
    )
    assert (
        "| principle | revisions | evasive | gold |\n| --- | ---: | ---: | ---: |\n| kind | 1 | -1.000 | +1.500 |"
        in revise
    )
    assert "| judge | 3 verdicts, 30 tokens read, 0 written |" in label
    assert "| judge's order bias | +0.100 for the answer shown first, same position won twice in 0.0% |" in label
    assert (
        "| principle | compare | share |\n| --- | ---: | ---: |\n| honest\\|true | 1 | 50.0% |\n| kind | 1 | 50.0% |"
        in label
    )
    # Labels: P(a) = 0.8, right; P(c) = 0.6, wrong.
    rows = [
        [cell.strip() for cell in line.replace("\\|", "/").split("|")[1:-1]]
        for line in label.splitlines()
        if line.startswith("| ")
    ]
    head = next(row for row in rows if "agrees: gold" in row)
    assert "agrees: preference" not in head
    agrees = {row[0]: row[head.index("agrees: gold")] for row in rows if len(row) == len(head)}
    assert agrees["none left out"] == "0.500"
    assert agrees["without kind"] == "0.000"
    assert agrees["without honest/true"] == "1.000"
    assert "`judge.leave_out=[ID]`" in label
    assert "step | gold |\n| --- | ---: |\n| 0 | 0.000 |\n| 4 | 1.000 |\n| 8 | 2.000 |" in rl
    assert "The judge" not in rl


def test_one_run_that_is_finished(recipe: Path):
    summary = {
        "before": {"eval/gold_sampled": 0.5},
        "after": {"eval/gold_sampled": 0.75, "eval/win_rate_sampled": 0.625},
        "steps": 9,
        "best_step": None,
        "samples": 32,
        "tokens": 64,
        "counts": {},
        "data": [],
        "mixture": None,
        "judge": {"canary_alarm": True},
    }
    (recipe / "label" / "summary.json").write_text(json.dumps(summary))
    text = report(recipe / "label")
    assert text.startswith(
        "# label\n\n## label: rlaif\n\n| measured | value |\n| --- | ---: |\n| held-out gold, sampled | 0.500 -> "
        "0.750 |\n"
    )
    assert "| held-out win rate against the start, sampled | 0.625 |" in text
    assert "| canary alarm |" in text
    assert (recipe / "label" / "report.md").exists()


def test_the_folder_of_a_judges_evaluation(tmp_path: Path):
    (tmp_path / "judge_eval.yaml").write_text("name: eval\n")
    result = tmp_path / "judge_eval.json"
    with pytest.raises(
        RunError,
        match=f"^{tmp_path}: of `rlsys judge-eval`, which has no samples; it has not finished: there is no {result} "
        "yet$",
    ):
        report(tmp_path)
    result.write_text("{}")
    with pytest.raises(
        RunError, match=f"^{tmp_path}: of `rlsys judge-eval`, which has no samples; its results are in {result}$"
    ):
        report(tmp_path)


def test_a_run_of_an_older_version_is_one_line(tmp_path: Path):
    config = tmp_path / "config.yaml"
    config.write_text("name: old\nalgorithm: {name: grpo}\nloop: {steps: 9}\n")
    with pytest.raises(RunError) as error:
        report(tmp_path)
    assert str(error.value) == (f"{config}: names no method: an older rlsys made this run; read it with that version")


def test_what_is_no_run_is_one_line(tmp_path: Path):
    with pytest.raises(RunError, match="not a run's folder"):
        report(tmp_path)
    (tmp_path / "recipe.yaml").write_text("name: r\nstages: [{name: a, config: a.yaml}]\n")
    with pytest.raises(RunError, match="none of the recipe's stages has begun"):
        report(tmp_path)
