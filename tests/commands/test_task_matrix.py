"""Tasks x models, over a sampler that says what it is told; adapters are merged for real."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.adapted import adapted, merged, saved, stir
from support.fakes import FunctionReward, answered
from support.scripted_sampler import Scripted

from rlsys.commands.options import settings
from rlsys.commands.task_matrix import Matrix, show, table
from rlsys.config.experiment import Experiment
from rlsys.errors import ConfigError
from rlsys.models.adapters import dora, lora
from rlsys.playground.models import build
from rlsys.roles import Roles, SpawnRequest
from rlsys.run.ledger import Ledger

TASKS = """\
sums:
  data: {eval: {path: sums.jsonl}}
  rewards: [{name: exact_match, label: answered}]
words:
  data: {eval: {path: words.jsonl}}
  rewards: [{name: exact_match, label: answered}]
  evaluation: {samples: 2, greedy: false}
  sampling: {max_tokens: 16}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, adapters of it and one of another base, two tasks of two rows each."""
    folder = tmp_path_factory.mktemp("matrix")
    for name, rows in {"sums": {"2+2": "4", "3+3": "6"}, "words": {"a": "b", "c": "d"}}.items():
        lines = [json.dumps({"prompt": prompt, "answer": answer}) + "\n" for prompt, answer in rows.items()]
        (folder / f"{name}.jsonl").write_text("".join(lines))
    base = build("0.5m", folder / "base")
    for name, config in {"run": lora.Config(rank=4), "dora": dora.Config(kind="dora", rank=4)}.items():
        adapter = adapted(base, config)
        stir(adapter)
        saved(adapter, folder / name / "final" / "adapter", base)
        torch.save(merged(adapter), folder / f"{name}.pt")
    other = build("0.5m", folder / "other", seed=1)
    saved(adapted(other, lora.Config(rank=4)), folder / "alien", other)
    return folder


@pytest.fixture
def here(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made)
    (made / "tasks.yaml").write_text(TASKS)
    return made


def test_a_model_and_its_adapters_on_every_task(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Each sampler is given its model's own weights, and each task is asked as it says."""
    told = [
        *(Scripted(("4",), ("7",)), Scripted(("b", "x"), ("x", "x"))),
        *(Scripted(("4",), ("6",)), Scripted(("x", "x"), ("x", "x"))),
        *(Scripted(("5",), ("5",)), Scripted(("b", "b"), ("d", "x"))),
    ]
    sampled: list[dict[str, torch.Tensor]] = []
    longest: list[int] = []

    @contextmanager
    def spawn(experiment: Experiment, request: SpawnRequest) -> Iterator[Roles]:
        sampled.append(load_file(Path(request.model) / "model.safetensors"))
        longest.append(experiment.sampling.max_tokens)
        yield Roles(rollout=told.pop(0), reward=FunctionReward(answered))

    adapters = ["maths=run", "language=dora"]
    matrix = Matrix.prepared(["./base"], adapters, Path("tasks.yaml"), settings([]), tmp_path)
    file, cells = matrix.measure(tmp_path, "matrix", spawn)
    assert table(cells) == [
        ("", "./base", "maths", "language"),
        ("sums: accuracy, greedy", "0.500", "1.000", "0.000"),
        ("words: accuracy, sampled", "0.250", "0.000", "0.750"),
    ]
    assert capsys.readouterr().out == "", "what the runs print is no result"
    show(file, cells)
    assert "words: accuracy, sampled" in capsys.readouterr().out
    assert longest == [512, 16] * 3
    for name, of_adapter in (("run", sampled[2:4]), ("dora", sampled[4:6])):
        wanted = torch.load(here / f"{name}.pt")
        for weights in of_adapter:
            assert not {key for key, weight in weights.items() if (weight - wanted[key]).abs().max() > 1e-6}

    written = json.loads(file.read_text())
    assert written["matrix"]["sums"] == {"./base": 0.5, "maths": 1.0, "language": 0.0}
    assert written["measures"] == {"sums": "accuracy_greedy", "words": "accuracy_sampled"}
    assert [one["model"] for one in written["tasks"]["words"]["models"]] == ["./base", "maths", "language"]
    with Ledger(tmp_path / "matrix/words/language/ledger.sqlite", read_only=True) as ledger:
        assert [(phase, count) for phase, _, count in ledger.phases()] == [("eval", 4)]
    assert sorted(path.name for path in (tmp_path / "matrix").iterdir()) == ["evaluation.json", "sums", "words"]


def test_settings_of_the_command_go_over_the_tasks(here: Path, tmp_path: Path):
    own = settings([("--limit", "data.eval.limit", 1)], ["sampling.max_tokens=7"])
    matrix = Matrix.prepared(["./base"], ["maths=run"], Path("tasks.yaml"), own, tmp_path)
    cells = [one for by_task in matrix.experiments.values() for one in by_task.values()]
    assert [(one.sampling.max_tokens, one.data.eval.limit) for one in cells if one.data.eval] == [(7, 1)] * 4


@pytest.mark.parametrize(
    ("models", "adapters", "tasks", "message"),
    [
        (["./base"], ["a=alien"], TASKS, "--adapter a=alien: was trained on other@"),
        (["./base"], ["a=nowhere"], TASKS, "--adapter a=nowhere: no such folder: nowhere"),
        (["./base", "./other"], ["a=run"], TASKS, "--adapter a=run: give one MODEL, its base; 2 were given"),
        (["./base"], ["./base=run"], TASKS, "--adapter ./base=run: the model is called so"),
        (["./base"], [], "sums: 3", "tasks.yaml: sums: wanted sections of an experiment (data, rewards, sampling, "),
        (["./base"], [], "a/b: {}", "tasks.yaml: a/b: a task's name is a folder's; use letters, digits"),
        (["./base"], [], "a: {model: {path: x}}", "tasks.yaml: a.model: is the command's to say, not a task's"),
        (["./base"], [], "a: {loop.steps: 2}", "tasks.yaml: a.loop.steps: is the command's to say, not a task's"),
        (["./base"], [], "a: {dta: {}}", "tasks.yaml:1: dta: unknown key; did you mean data?"),
    ],
)
def test_mistakes_leave_nothing(
    here: Path, tmp_path: Path, models: list[str], adapters: list[str], tasks: str, message: str
):
    (here / "tasks.yaml").write_text(tasks)
    with pytest.raises(ConfigError) as error:
        Matrix.prepared(models, adapters, Path("tasks.yaml"), [], tmp_path)
    assert str(error.value).startswith(message)
    assert not list(tmp_path.iterdir())
