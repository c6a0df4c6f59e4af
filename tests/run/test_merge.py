"""Merging as a run, as a stage of a recipe and as a command: what it leaves, and what it asks for."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.fakes import FunctionReward, answered
from support.scripted_sampler import Scripted
from torch import Tensor
from typer.testing import CliRunner

from rlsys.cli import app
from rlsys.commands.merge import merge_experiment, no_actors
from rlsys.commands.named_models import model_path
from rlsys.commands.report.write import report
from rlsys.commands.validate import validated
from rlsys.config.experiment import Experiment
from rlsys.errors import ConfigError
from rlsys.playground.models import build
from rlsys.roles import Roles, SpawnRequest
from rlsys.run.recipe import run_recipe
from rlsys.run.train import resume, train

CONFIG = """\
name: both
model: {path: base, dtype: float32}
method:
  name: merge
  by: {name: task_arithmetic, scale: 0.5}
  models:
    - {path: one}
    - {path: other, weight: -1}
"""
RECIPE = """\
name: chain
common:
  model: {path: base, dtype: float32}
stages:
  - {name: first, method: {name: merge, models: [{path: one}, {path: other}]}}
  - {name: second, method: {name: merge, by: slerp, models: [{path: "stage:first"}, {path: other, weight: 3}]}}
"""
Q = "model.layers.1.self_attn.q_proj.weight"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for seed, name in enumerate(("base", "one", "other")):
        build("0.5m", tmp_path / name, seed)
    (tmp_path / "merge.yaml").write_text(CONFIG)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def weights(folder: Path) -> Tensor:
    return load_file(folder / "model.safetensors")[Q]


def test_a_run_leaves_a_model_that_the_commands_find(here: Path, capsys: pytest.CaptureFixture[str]):
    summary = train(merge_experiment(Path("merge.yaml"), []), no_actors)
    final = here / "runs" / "both" / "final"
    wanted = weights(here / "base") + 0.5 * (weights(here / "one") - weights(here / "other"))
    assert torch.allclose(weights(final), wanted, atol=1e-6)
    assert model_path("runs/both") == summary["model"] == str(final)
    assert summary["weight_hash"]
    told = capsys.readouterr().out
    assert "task_arithmetic" in told
    assert "other, weight -1" in told
    assert "| model 1 |" in report(Path("runs/both"))
    record = json.loads((final / "merge.json").read_text())
    assert record["base"]["path"] == str(here / "base")


def test_a_killed_run_begins_anew(here: Path):
    train(merge_experiment(Path("merge.yaml"), []), no_actors)
    run = here / "runs" / "both"
    first = (run / "final" / "model.safetensors").read_bytes()
    (run / "summary.json").unlink()
    (run / "final").rename(run / ".final.writing")
    resume(run, no_actors)
    assert (run / "final" / "model.safetensors").read_bytes() == first
    assert (run / "summary.json").is_file()
    assert not (run / ".final.writing").exists()


def test_stages_of_a_recipe(here: Path):
    """The second merges what the first made; a finished recipe is not made again."""
    summary = run_recipe(Path("recipe.yaml"), [], no_actors)
    chain = here / "runs" / "chain"
    first, other = (weights(folder) for folder in (chain / "first" / "final", here / "other"))
    assert torch.allclose(first, (weights(here / "one") + other) / 2, atol=1e-7)
    angle = torch.acos((first * other).sum() / (first.norm() * other.norm()))
    wanted = (torch.sin(0.25 * angle) * first + torch.sin(0.75 * angle) * other) / torch.sin(angle)
    assert torch.allclose(weights(chain / "second" / "final"), wanted, atol=1e-6)
    assert summary["model"] == str(chain / "second" / "final")
    assert [*validated(Path("recipe.yaml"), [])] == [
        "OK  first: one, other merged by linear on base; no actors",
        "OK  second: stage:first, other merged by slerp on base; no actors",
    ]


def test_a_greedy_soup_measures_as_evaluate_does(here: Path):
    """One is right about both prompts, the other about one, and so is their mean: the soup is the first alone."""
    told = [Scripted(("4",), ("6",)), Scripted(("4",), ("?",)), Scripted(("?",), ("6",))]
    asked: list[tuple[str, str, frozenset[str]]] = []

    @contextmanager
    def spawn(experiment: Experiment, request: SpawnRequest) -> Iterator[Roles]:
        asked.append((experiment.name, experiment.method.name, request.needs))
        yield Roles(rollout=told.pop(0), reward=FunctionReward(answered))

    (here / "rows.jsonl").write_text('{"prompt": "2+2", "answer": "4"}\n{"prompt": "3+3", "answer": "6"}\n')
    overrides = [
        "method={name: merge, by: greedy_soup, models: [{path: one}, {path: other}]}",
        "data={eval: {path: rows.jsonl}}",
        "rewards=[{name: exact_match, label: answered}]",
        "evaluation={samples: 1}",
        "cluster={cpus: 8, gpus: 0}",
    ]
    train(merge_experiment(Path("merge.yaml"), overrides), spawn)
    needs = frozenset({"rollout", "reward"})
    assert asked == [(name, "evaluate", needs) for name in ("soup-0", "soup-1", "soup-0-1")]
    run = here / "runs" / "both"
    assert torch.equal(weights(run / "final"), weights(here / "one"))
    tried = json.loads((run / "final" / "merge.json").read_text())["tried"]
    assert [(one["models"], one["score"], one["kept"]) for one in tried] == [
        ([0], 1.0, True),
        ([1], 0.5, False),
        ([0, 1], 0.5, False),
    ]
    assert sorted(folder.name for folder in (run / "measured").iterdir()) == ["soup-0", "soup-0-1", "soup-1"]


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (
            ["method.by=ties", "method.models.0.density=2"],
            "method.models.0.density: wanted a number or null above 0 and of",
        ),
        (["method.by={name: ties, densty: 0.1}"], "method.by: by.densty: unknown key; did you mean density?"),
        (["method.models.0.path=./on"], "method.models.0.path: no such folder: ./on"),
        (["policy.ranks=2"], "policy.ranks: has no effect: merge trains nothing; leave it out"),
        (
            ["data.train.path=rows.jsonl"],
            "data.train: has no effect: merge works on the files of models alone; leave it out",
        ),
        (["data.eval.path=rows.jsonl"], "data.eval: has no effect: merge samples nothing; leave it out"),
        (
            ["method.by=greedy_soup", "method.models.1.weight=1", "rewards=[{name: exact_match}]"],
            "data.eval: merge chooses by held-out scores, and there",
        ),
        (["method={name: merge, models: []}"], "method.models: wanted at least 1 item, got 0"),
        (
            [
                "method={name: evaluate}",
                "data={eval: {path: rows.jsonl}}",
                "loop={steps: 1}",
                "rewards=[{name: exact_match}]",
            ],
            "merge.yaml: is of method evaluate, not merge; use `rlsys train merge.yaml`",
        ),
    ],
)
def test_what_is_refused(here: Path, overrides: list[str], says: str):
    (here / "rows.jsonl").write_text('{"prompt": "2+2", "answer": "4"}\n')
    with pytest.raises(ConfigError) as error:
        merge_experiment(Path("merge.yaml"), overrides)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_models_that_do_not_fit_are_found_by_validate(here: Path):
    """As by the command, before there is a folder."""
    build("25m", here / "large")
    says = r"method\.models\.0 \(.*large\): model\.\S+ is "
    with pytest.raises(ConfigError, match=says):
        list(validated(Path("merge.yaml"), ["method.models.0.path=large"]))
    with pytest.raises(ConfigError, match=says):
        train(merge_experiment(Path("merge.yaml"), ["method.models.0.path=large"]), no_actors)
    assert not (here / "runs" / "both" / "final").exists()


def test_the_command(here: Path):
    """It imports no Ray where nothing is measured, and points to the command for another config."""
    code = "import sys; from rlsys.cli import main; import atexit; atexit.register(lambda: print('ray' in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; main()", "merge", "merge.yaml", "name=shown"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "False"), done.stderr
    assert (here / "runs" / "shown" / "final" / "README.md").is_file()
    result = CliRunner().invoke(app, ["merge", "recipe.yaml"])
    assert "recipe.yaml: is a recipe; give an experiment of method merge" in str(result.exception)
