"""`import rlsys`, as in a notebook. The command `train` is the same function, so every run of the tests runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.command_line import CONFIGS
from support.written_run import write_run, write_story

import rlsys
from rlsys.errors import ConfigError, RunError
from rlsys.library import typed


def test_importing_it_costs_nothing():
    code = (
        "import rlsys, sys; heavy = {'torch', 'pydantic', 'ray', 'transformers'} & set(sys.modules); "
        "assert not heavy, heavy; assert callable(rlsys.train)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_run_is_read(tmp_path: Path):
    written = write_run(tmp_path / "one", [0.25, 0.5])
    write_story(written)
    run = rlsys.Run.open(written.path)
    assert run.standing == "finished"
    assert run.summary()["after"] == {"eval/accuracy_sampled": 0.75}
    assert [(line["stage"], line["step"], line.get("reward/mean")) for line in run.metrics()] == [
        ("one", 0, None),
        ("one", 1, 0.25),
        ("one", 2, 0.5),
    ]
    assert [sample.sample_id for sample in run.samples(phase="train", most=2)] == ["train-2/a", "train-2/b"]
    assert [sample.advantage for sample in run.samples(step=2, containing="GOOD")] == [1.0]
    assert run.report() == written.path / "report.html"
    written.summary.unlink()
    with pytest.raises(RunError, match="is not finished"):
        run.summary()


def test_a_recipe_has_stages(tmp_path: Path):
    for stage in ("first", "second"):
        write_run(tmp_path / stage, [0.25])
    (tmp_path / "recipe.yaml").write_text(
        "name: both\nstages: [{name: first, config: first.yaml}, {name: second, config: second.yaml}]\n"
    )
    run = rlsys.Run.open(tmp_path)
    assert [*run.stages] == ["first", "second"]
    assert [line["stage"] for line in run.metrics()] == ["first", "first", "second", "second"]
    assert [line["stage"] for line in run.stages["second"].metrics()] == ["second", "second"]


def test_a_mistake_is_the_same_line_as_on_the_command_line():
    with pytest.raises(ConfigError, match=r"^command line 'grpo.loop.step=3': loop.step: unknown key"):
        rlsys.train(CONFIGS / "quickstart.yaml", {"grpo.loop.step": 3})
    with pytest.raises(ConfigError, match=r"^override 'seed': .* is nothing that a config can hold: "):
        rlsys.train(CONFIGS / "quickstart.yaml", {"seed": object()})
    with pytest.raises(RunError, match="not a run's folder"):
        rlsys.Run.open("nowhere")
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        rlsys.trian  # pyright: ignore  # noqa: B018


def test_overrides_as_one_types_them():
    given = {"seed": 1, "output": Path("runs"), "judge": None, "policy.learning_rate": 1e-6, "rewards": [{"name": "a"}]}
    assert typed(given) == [
        "seed=1",
        'output="runs"',
        "judge=null",
        "policy.learning_rate=1e-06",
        'rewards=[{"name": "a"}]',
    ]
    assert typed(["seed=1"]) == ["seed=1"]
