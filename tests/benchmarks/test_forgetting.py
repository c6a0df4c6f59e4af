from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import forgetting
from benchmarks.merge import Ability
from rlsys.check.recipe import load_recipe

CAN = {
    "base": Ability(0.4, 0.1),
    "sort": Ability(0.9, 0.2),
    "letters_none": Ability(0.3, 0.7),
    "letters_replay": Ability(0.8, 0.6),
    "letters_ewc": Ability(0.7, 0.5),
    "sort_lora": Ability(0.8, 0.1),
    "letters_lora_none": Ability(0.5, 0.5),
    "letters_lora_ewc": Ability(0.4, 0.5),
    "letters_lora_isolation": Ability(0.2, 0.6),
}


def test_the_table_shows_what_is_left_and_on_how_many_seeds_it_is_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(forgetting, "ability", lambda folder, samples: CAN[folder.parent.name])
    found = {seed: forgetting.scores(tmp_path, 1) for seed in (0, 1)}
    assert found[0]["full, replay"] == [[0.9, 0.2], [0.8, 0.6]]
    # With adapters apart, sorting is done by its own, and letters, before there is one, by the base.
    assert found[0]["lora, isolation"] == [[0.8, 0.1], [0.8, 0.6]]
    out = io.StringIO()
    forgetting.report(tmp_path, found, Console(file=out, width=200))
    cells = [
        [cell.strip() for cell in line.split("│")[1:-1]] for line in out.getvalue().splitlines() if line.startswith("│")
    ]
    assert ["full, none", "0.900", "0.300", "0.700", "0.500", "-0.600", "0.600", ""] in cells
    assert ["full, replay", "0.900", "0.800", "0.600", "0.700", "-0.100", "0.100", "2 of 2"] in cells
    assert [row[-1] for row in cells if row[0] == "lora, ewc"] == ["0 of 2"]
    told = json.loads((tmp_path / "demo-continual.json").read_text())["full, ewc"]["1"]
    assert told["matrix"] == [[0.9, 0.2], [0.7, 0.5]]
    assert told["forgetting"] == pytest.approx(0.2)


def test_the_stages_are_those_of_the_recipe():
    _, stages = load_recipe(forgetting.DEMO, forgetting.QUICK, this_machine=False)
    assert {stage.name for stage in stages} == set(forgetting.STAGES)
