"""What a run may go on with when it is changed, and what it is refused with, before anything starts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.fakes import SoftmaxPolicy

from rlsys.check.load import load
from rlsys.config.experiment import Experiment
from rlsys.errors import CheckpointError, ConfigError, RlsysError
from rlsys.objectives.stats import Mean, Stats
from rlsys.roles import Roles, SpawnRequest
from rlsys.run.changes import changes, content, flat
from rlsys.run.folder import RunDir
from rlsys.run.train import resume, train

STEPS, DIES = 6, 5


class Counting(SoftmaxPolicy):
    """Its weights tell which tokens it was trained on, and in which order."""

    def forward_backward(self, batch: Any, loss: Any) -> Stats:
        self.logits = (self.logits.detach() / 2 + batch.token_ids_BT.sum()).requires_grad_()
        return {"loss": Mean(1.0, 1.0)}

    def evaluate(self, batch: Any, loss: Any) -> Stats:
        return {"nll": Mean(1.0, 1.0)}

    def log_probs(self, batch: Any, temperature: float) -> Any:
        return -1.0 * batch.loss_mask_BT

    def optimizer_step(self, scale: float = 1.0) -> Stats:
        self.updates += 1
        if self.updates == self.dies_in:
            raise KeyboardInterrupt
        return {"grad_norm": Mean(1.0, 1.0)}

    dies_in = 0


@contextmanager
def spawn(experiment: Experiment, request: SpawnRequest) -> Iterator[Roles]:
    yield Roles(policy=Counting())


@contextmanager
def dying(experiment: Experiment, request: SpawnRequest) -> Iterator[Roles]:
    policy = Counting()
    policy.dies_in = DIES
    yield Roles(policy=policy)


@contextmanager
def never(experiment: Experiment, request: SpawnRequest) -> Iterator[Roles]:
    raise AssertionError("started")
    yield


def write_rows(path: Path, numbers: list[int]) -> None:
    rows = [{"prompt": f"{number}+{number}=", "answer": str(2 * number)} for number in numbers]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was interrupted in step 5; its newest checkpoint is of step 4."""
    monkeypatch.chdir(tmp_path)
    for name, numbers in (("train", [1, 2, 3, 4]), ("also", [5, 6]), ("held", [7, 8]), ("text", [9, 10])):
        write_rows(tmp_path / f"{name}.jsonl", numbers)
    config = {
        "name": "my run",
        "output": "runs",
        "model": {"path": "playground:0.5m", "dtype": "float32"},
        "data": {
            "train": {"path": "train.jsonl"},
            "also": [{"path": "also.jsonl"}],
            "eval": {"path": "held.jsonl"},
        },
        "method": {"name": "sft", "batch_size": 2, "max_tokens": 64},
        "loop": {"steps": STEPS, "checkpoint_every": 2},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config | {"name": "run"}))
    with pytest.raises(KeyboardInterrupt):
        train(load(tmp_path / "config.yaml"), dying)
    return tmp_path / "runs" / "run"


def refused(run: Path, *overrides: str, start: str | None = None) -> str:
    with pytest.raises(RlsysError) as caught:
        resume(run, never, overrides, start)
    return str(caught.value)


def swapped(path: Path) -> None:
    first, second, *more = path.read_text().splitlines(keepends=True)
    path.write_text("".join([second, first, *more]))


def edited(path: Path) -> None:
    path.write_text(path.read_text().replace('"answer": "', '"answer": "1', 1))


@pytest.mark.parametrize("change", [swapped, edited])
@pytest.mark.parametrize(("file", "section"), [("train", "data.train"), ("also", "data.also.0"), ("held", "data.eval")])
def test_changed_data_are_refused_by_name_before_anything_starts(
    begun: Path, tmp_path: Path, file: str, section: str, change: Callable[[Path], None]
):
    before = {path: path.read_bytes() for path in begun.rglob("*") if path.is_file() and path.name != "error.log"}
    change(tmp_path / f"{file}.jsonl")
    assert refused(begun).startswith(f"{section}: the rows are not those that the run was trained on so far")
    now = {path: path.read_bytes() for path in begun.rglob("*") if path.is_file() and path.name != "error.log"}
    assert now == before


def test_the_same_data_elsewhere_are_the_same_data(begun: Path, tmp_path: Path):
    (tmp_path / "held.jsonl").rename(tmp_path / "moved.jsonl")
    assert "data.train.path: was" in refused(begun, f"data.train.path={tmp_path / 'train2.jsonl'}"), "of a mixture"
    summary = resume(begun, spawn, [f"data.eval.path={tmp_path / 'moved.jsonl'}"])
    assert summary["steps"] == STEPS


@pytest.mark.parametrize(
    ("override", "was", "now"),
    [
        ("seed=7", "0", "7"),
        ("policy.ranks=2", "1", "2"),
        ("policy.zero_stage=3", "2", "3"),
        ("policy.betas=[0.8, 0.95]", "0.9", "0.8"),
        ("policy.weight_decay=0.5", "0.0", "0.5"),
        ("method.batch_size=1", "2", "1"),
        ("data.shuffle=false", "True", "False"),
        ("data.train.limit=3", "None", "3"),
        ("model.dtype=bfloat16", "'float32'", "'bfloat16'"),
        ("method.tokens=all", "'assistant'", "'all'"),
    ],
)
def test_a_setting_that_can_not_be_obeyed_is_refused_by_name(begun: Path, override: str, was: str, now: str):
    told = refused(begun, override)
    key = override.partition("=")[0]
    assert told.startswith(f"{begun / 'config.yaml'}: {key}"), told
    assert f"was {was} up to step 4 and is {now} now, which a run that goes on can't obey" in told
    assert "\n" not in told
    (begun / "config.yaml").write_text((begun / "config.yaml").read_text().replace("seed: 0", "seed: 7"))
    assert "seed: was 0 up to step 4 and is 7 now" in refused(begun), "edited by hand is no different"


def test_a_setting_that_may_change_is_obeyed_and_named_in_the_summary_and_kept(begun: Path):
    run = RunDir(begun)
    summary = resume(begun, spawn, ["loop.steps=8", "policy.learning_rate=0.5", "loop.keep_last=1"])
    assert summary["steps"] == 8
    assert summary["notes"] == [
        "step 4: policy.learning_rate is changed from 1e-06 to 0.5",
        "step 4: loop.steps is changed from 6 to 8",
        "step 4: loop.keep_last is changed from 2 to 1",
    ]
    assert yaml.safe_load(run.config.read_text())["policy"]["learning_rate"] == 0.5
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-8"]
    assert refused(begun, "loop.steps=7").startswith("loop.steps: is 7, and the run is at step 8 already")


def test_going_back_to_an_older_checkpoint_gives_the_same_run(begun: Path, tmp_path: Path):
    run = RunDir(begun)
    (run.checkpoints / "step-4" / "loop.json").write_text("{}")
    told = refused(begun)
    assert "loop.json is damaged; to go on from step 2: `rlsys resume" in told
    summary = resume(begun, spawn, (), "step-2")
    whole = train(load(tmp_path / "config.yaml", ["name=whole"]), spawn)
    assert summary["weight_hash"] == whole["weight_hash"]
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["aside-step-4", "step-4", "step-6"]


def test_a_whole_file_that_is_no_state_is_refused_by_name(begun: Path):
    manifest = begun / "checkpoints" / "step-4" / "manifest.json"
    state = manifest.with_name("loop.json")
    for text in ("[]", '{"state": {"stairs": 1}, "source": {}}', "not JSON"):
        from rlsys.run.checkpoint import File

        state.write_text(text)
        seal = json.loads(manifest.read_text())
        seal["files"]["loop.json"] = {"size": File.of(state).size, "xxh3_128": File.of(state).xxh3_128}
        manifest.write_text(json.dumps(seal))
        with pytest.raises(CheckpointError, match=r"loop\.json: is not the state of a loop"):
            resume(begun, never)


def test_the_table_and_flat_keys():
    assert flat({"a": {"b": [1, {"c": 2}], "d": {}}, "e": []}) == {"a.b.0": 1, "a.b.1.c": 2, "a.d": {}, "e": []}
    experiment = Experiment.model_validate(
        {"name": "x", "model": {"path": "m"}, "data": {}, "method": {"name": "sft"}, "loop": {"steps": 3}}
    )
    same = experiment.model_dump(mode="json")
    assert changes(same, experiment, 1, "c") == []
    with pytest.raises(ConfigError, match=r"c: reward_models: was \[\{'x': 1\}\]|c: reward_models.0.x: was 1"):
        changes(same | {"reward_models": [{"x": 1}]}, experiment, 1, "c")


def test_content_is_of_all_that_is_in_a_row_and_of_the_order():
    rows = [("a", 1), ("b", 2)]
    assert content(rows) == content(list(rows))
    assert len({content(rows), content(rows[::-1]), content(rows[:1]), content([("a", 1), ("b", 3)])}) == 4
