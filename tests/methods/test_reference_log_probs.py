from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from support.fakes import FrozenSoftmax, SoftmaxPolicy

from rlsys.config.dataset import DatasetConfig
from rlsys.config.experiment import DataConfig, Experiment
from rlsys.config.sampling import SamplingConfig
from rlsys.data.load import Comparison, load_comparisons
from rlsys.data.mixture import build_source
from rlsys.data.report import Loaded
from rlsys.data.stream import Stream
from rlsys.errors import ConfigError, DataError
from rlsys.methods import dpo, simpo
from rlsys.methods.base import Step
from rlsys.methods.reference_log_probs import Config, Method
from rlsys.models.version import OF_TOKENS, version_of
from rlsys.playground.models import build, byte_tokenizer
from rlsys.roles import Roles
from rlsys.run.inputs import Inputs

REFERENCE = torch.randn(300, generator=torch.Generator().manual_seed(0)).log_softmax(0)
ROWS: list[dict[str, Any]] = [
    {"prompt": "q", "chosen": "good", "rejected": "bad"},
    {"prompt": "p", "answers": ["a", "bc", "d"], "grades": [0, 2, 1]},
    {"prompt": "r", "chosen": "x", "rejected": "yz", "preference": 0.2},
]


def load(path: Path, rows: list[dict[str, Any]], strict: bool = True) -> Loaded[Comparison]:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_comparisons(DatasetConfig(path=str(path)), byte_tokenizer(), 50, strict, path.with_name("aside.jsonl"))


def written(path: Path, batch_size: int = 2) -> list[dict[str, Any]]:
    """What the method makes of the rows."""
    method = Method(Config(batch_size=batch_size), SamplingConfig(), pad_id=0)
    source, roles = Stream(load(path, ROWS).rows, seed=0, shuffle=True), Roles(reference=FrozenSoftmax(REFERENCE))
    memory, rows = {}, []
    for number in range(1, 10):
        step = Step(number, 0, 0, memory)
        experience = method.collect(roles, source, step)
        rows += experience.rows
        learned = method.learn(roles, experience, step)
        memory = learned.memory
        if learned.done:
            assert number == math.ceil(len(ROWS) / batch_size)
            return rows
    raise AssertionError("it does not end")


def log_prob(text: str) -> float:
    """Of the answer's bytes and the EOS."""
    return float(REFERENCE[[*text.encode(), byte_tokenizer().eos_token_id]].double().sum())


@pytest.mark.parametrize("batch_size", [2, 10])
def test_every_row_is_written_once_with_its_log_probs(tmp_path: Path, batch_size: int):
    """Three rows, in two steps or in one that has room for more."""
    assert Config(batch_size=batch_size).facts.rows_per_step == 1  # a set of fewer rows than a step takes will do
    rows = sorted(written(tmp_path / "rows.jsonl", batch_size), key=lambda row: "qpr".index(row["prompt"]))
    assert [{name: row[name] for name in given} for row, given in zip(rows, ROWS, strict=True)] == ROWS
    assert [row["reference_tokens"] for row in rows] == [[5, 4], [2, 3, 2], [2, 3]]
    assert [row["reference_model"] for row in rows] == ["frozen@1"] * 3
    answers = [["good", "bad"], ["a", "bc", "d"], ["x", "yz"]]
    for row, texts in zip(rows, answers, strict=True):
        assert row["reference_log_probs"] == pytest.approx([log_prob(text) for text in texts], rel=1e-5)


def test_training_on_them_is_training_beside_the_reference(tmp_path: Path):
    loaded = load(tmp_path / "known.jsonl", written(tmp_path / "rows.jsonl")).rows
    settings = {"batch_size": 3, "beta": 0.5}
    alone, beside = (
        dpo.Method(dpo.Config.model_validate({**settings, "precomputed": known}), SamplingConfig(), 0)
        for known in (True, False)
    )
    assert (alone.config.facts.needs, beside.config.facts.needs) == ({"policy"}, {"policy", "reference"})
    policy = SoftmaxPolicy()
    policy.logits = torch.randn(300, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    found = alone.measure(Roles(policy=policy), loaded).metrics
    wanted = beside.measure(Roles(policy=policy, reference=FrozenSoftmax(REFERENCE)), loaded).metrics
    assert found == pytest.approx(wanted, rel=1e-6)
    assert found["margin"] != 0


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two with other weights."""
    one, other = (
        build("0.5m", tmp_path_factory.mktemp("models") / name, seed=seed) for seed, name in enumerate(("one", "other"))
    )
    return one, other


def reading(tmp_path: Path, start: Path, *rows: dict[str, Any], **more: Any) -> Inputs:
    """Of a run that trains `start` on the rows."""
    (tmp_path / "known.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"train": {"path": str(tmp_path / "known.jsonl")}}
    own = {
        "name": "test",
        "model": {"path": str(start)},
        "data": data,
        "loop": {"steps": 1},
        "method": dpo.Config(precomputed=True, batch_size=1),
        "output": tmp_path,
        **more,
    }
    return Inputs(Experiment.model_validate(own), byte_tokenizer(), Path)


def nameless() -> dict[str, Any]:
    return {**ROWS[0], "reference_log_probs": [-1.0, -2.0], "reference_tokens": [5, 4]}


def known(model: Path) -> dict[str, Any]:
    return {**nameless(), "reference_model": version_of(model, OF_TOKENS)}


def test_rows_without_them_are_refused_by_name(tmp_path: Path, models: tuple[Path, Path]):
    with pytest.raises(
        DataError, match=r"row train:2 has no reference_log_probs.*make them by method reference_log_probs"
    ):
        reading(tmp_path, models[0], known(models[0]), ROWS[1]).training()
    with pytest.raises(DataError, match=r"row train:2 has no reference_model: of which model they are"):
        reading(tmp_path, models[0], known(models[0]), nameless()).training()


def test_rows_of_another_reference_are_refused(tmp_path: Path, models: tuple[Path, Path]):
    """The reference is the model that the run starts from, or the one that is named."""
    one, other = models
    reading(tmp_path, one, known(one)).training()
    with pytest.raises(
        DataError,
        match=r"row train:2 has the log-probs of other@\w{12}, and model.path is one@\w{12}; set reference.path to",
    ):
        reading(tmp_path, one, known(one), known(other)).training()
    reading(tmp_path, one, known(other), reference={"path": str(other)}).training()
    with pytest.raises(
        DataError, match=r"row train:1 has the log-probs of one@\w{12}, and reference.path is other@\w{12}"
    ):
        reading(tmp_path, one, known(one), reference={"path": str(other)}).training()


def test_held_out_rows_must_be_of_the_same_reference(tmp_path: Path, models: tuple[Path, Path]):
    one, other = models
    data = {"train": {"path": str(tmp_path / "known.jsonl")}, "eval": {"path": str(tmp_path / "e.jsonl")}}
    rows = reading(tmp_path, one, known(one), data=data)
    rows.training()
    (tmp_path / "e.jsonl").write_text(json.dumps(known(other)))
    with pytest.raises(DataError, match=r"e.jsonl: row train:1 has the log-probs of other@"):
        rows.held_out()


def test_a_reference_goes_by_its_weights(tmp_path: Path, models: tuple[Path, Path]):
    """Not by what its folder is called, nor by files that change no log-prob."""
    copy = Path(shutil.copytree(models[0], tmp_path / "copy"))
    (copy / "notes.txt").write_text("mine")
    (row,) = reading(tmp_path, models[0], known(copy)).training().take(1)
    assert row.reference_model.startswith("copy@")


def test_a_method_without_a_reference_has_no_use_for_them():
    with pytest.raises(ValidationError, match=r"Value error, precomputed: simpo asks for no reference here"):
        simpo.Config(precomputed=True)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        (
            {"reference_log_probs": [-1.0], "reference_tokens": [5, 4]},
            "reference_log_probs is not a list of 2 numbers, one for each answer",
        ),
        (
            {"reference_log_probs": [-1.0, None], "reference_tokens": [5, 4]},
            "reference_log_probs: 2 is null, not a number",
        ),
        ({"reference_log_probs": [-1.0, -2.0]}, "reference_tokens is not a list of 2 numbers, one for each answer"),
        (
            {"reference_log_probs": [-1.0, -2.0], "reference_tokens": [5, 4], "reference_model": 7},
            "reference_model is a number, not text",
        ),
        (
            {"reference_log_probs": [-1.0, -2.0], "reference_tokens": [5, 3], "reference_model": "frozen@1"},
            "the reference's log-probs are of 5 and 3 tokens, and the answers have 5 and 4 here: they were measured "
            "with another tokenizer or template",
        ),
    ],
)
def test_log_probs_that_are_not_of_these_answers_are_put_aside(tmp_path: Path, columns: dict[str, Any], reason: str):
    loaded = load(tmp_path / "rows.jsonl", [{**ROWS[0], **columns}, *ROWS[1:]], strict=False)
    assert loaded.report.quarantined == 1
    (entry,) = (json.loads(line) for line in (tmp_path / "aside.jsonl").read_text().splitlines())
    assert entry["reason"] == reason


def test_a_mixture_is_refused(tmp_path: Path):
    loaded = load(tmp_path / "rows.jsonl", ROWS)
    one = DatasetConfig(path="rows.jsonl")
    source = build_source([loaded, loaded], DataConfig(train=one, also=(one,)), 0)
    with pytest.raises(ConfigError, match=r"^data.also: method reference_log_probs takes one data set"):
        Method(Config(batch_size=2), SamplingConfig(), 0).collect(
            Roles(reference=FrozenSoftmax(REFERENCE)), source, Step(1, 0, 0)
        )
