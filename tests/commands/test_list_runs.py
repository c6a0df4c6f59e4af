from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from support.written_run import write_run

from rlsys.commands.list_runs import Row, listed
from rlsys.errors import RunError


def told(row: Row) -> tuple[str, ...]:
    return row.cells()[:-1]


def test_runs_and_recipes_the_newest_last(tmp_path: Path):
    done = write_run(tmp_path / "b-done", [0.25, 0.5])
    begun = write_run(tmp_path / "a-begun", [0.25, 0.5, 0.75])
    begun.summary.unlink()
    begun.metrics.write_text("".join(begun.metrics.read_text().splitlines(keepends=True)[:2]))
    write_run(tmp_path / "recipe" / "one", [0.25])
    (tmp_path / "recipe" / "recipe.yaml").write_text(
        "name: recipe\nstages: [{name: one, config: one.yaml}, {name: two, config: two.yaml}]\n"
    )
    (tmp_path / "empty").mkdir()
    for age, folder in enumerate((begun.path, tmp_path / "recipe", done.path)):
        for file in (*folder.glob("*"), *folder.glob("*/*")):
            os.utime(file, (1000 + age, 1000 + age))
    accuracy = "held-out accuracy, sampled 0.250 -> 0.750"
    assert [told(row) for row in listed(tmp_path)] == [
        ("a-begun", "grpo", "stopped", "1 of 3", "reward 0.25 (step 1)"),
        ("recipe", "grpo", "stopped", "one (1 of 2): 1 of 1", accuracy),
        ("b-done", "grpo", "finished", "2 of 2", accuracy),
    ]
    assert [told(row) for row in listed(tmp_path / "recipe")] == [("one", "grpo", "finished", "1 of 1", accuracy)]
    assert [told(row)[0] for row in listed(done.path)] == ["b-done"]
    (tmp_path / "recipe" / "summary.json").write_text("{}")
    assert {row.run: row.state for row in listed(tmp_path)}["recipe"] == "finished"


def test_one_that_can_not_be_read_hides_no_other(tmp_path: Path):
    write_run(tmp_path / "good", [0.5])
    write_run(tmp_path / "bad", [0.5]).metrics.write_text("{\n")
    rows = {row.run: row for row in listed(tmp_path)}
    assert rows["good"].state == "finished"
    assert rows["bad"].state == "unreadable"
    assert "metrics.jsonl:1: not a JSON record" in rows["bad"].headline


@pytest.mark.parametrize(("folder", "said"), [("nowhere", "no such folder"), (".", "no run has begun in it")])
def test_a_folder_without_runs_is_one_line(tmp_path: Path, folder: str, said: str):
    with pytest.raises(RunError, match=re.escape(f"{tmp_path / folder}: {said}")):
        listed(tmp_path / folder)
