from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import merge
from rlsys.check.recipe import load_recipe


def test_what_counts_as_right():
    assert merge.is_sorted("4213", "1234")
    assert not merge.is_sorted("4213", "1243")
    assert merge.is_wanted("adk", "kkad")
    assert not merge.is_wanted("adk", "adz")
    assert not merge.is_wanted("adk", "")


def test_the_tables_show_every_model_beside_what_it_was_made_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def ability(folder: Path, samples: int) -> merge.Ability:
        return merge.Ability(0.75, 0.25) if folder.parent.name == "ties" else merge.Ability(0.5, 0.125)

    monkeypatch.setattr(merge, "ability", ability)
    out = io.StringIO()
    merge.report(tmp_path, Console(file=out, width=100), samples=1)
    cells = [
        [cell.strip() for cell in line.split("│")[1:-1]] for line in out.getvalue().splitlines() if line.startswith("│")
    ]
    assert ["ties", "0.750", "0.250"] in cells
    assert [row[0] for row in cells] == [*merge.TRAINED, *merge.MERGED, *merge.SEEDS, *merge.SOUPS]
    assert json.loads((tmp_path / "merge.json").read_text())["ties"] == {"sort": 0.75, "letters": 0.25}


def test_the_stages_are_those_of_the_recipe():
    _, stages = load_recipe(merge.RECIPE, merge.QUICK, this_machine=False)
    assert {stage.name for stage in stages} == {*merge.TRAINED, *merge.MERGED, *merge.SEEDS, *merge.SOUPS}
    seeds = {stage.name: stage.seed for stage in stages}
    assert len({seeds[name] for name in merge.SEEDS}) == 3
