from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import FrozenSoftmax, SoftmaxPolicy

from rlsys.algorithm import Step, build_algorithm
from rlsys.config.dataset import DatasetConfig
from rlsys.config.models import DataConfig, Experiment, SamplingConfig
from rlsys.data.load import Comparison, Loaded, load_comparisons
from rlsys.data.mixture import build_source
from rlsys.data.stream import Stream
from rlsys.errors import ConfigError, DataError
from rlsys.models.version import version_of
from rlsys.playground.models import build, byte_tokenizer
from rlsys.roles import Roles
from rlsys.rows import Rows
from rlsys.run_dir import RunDir
from rlsys.stages import preference
from rlsys.stages.reference_log_probs import Algorithm, Config

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
    """What the stage makes of the rows."""
    algorithm = Algorithm(Config(batch_size=batch_size), SamplingConfig(), pad_id=0)
    source, roles = Stream(load(path, ROWS).rows, seed=0, shuffle=True), Roles(reference=FrozenSoftmax(REFERENCE))
    memory, rows = {}, []
    for number in range(1, 10):
        step = Step(number, 0, 0, memory)
        experience = algorithm.collect(roles, source, step)
        rows += experience.rows
        learned = algorithm.learn(roles, experience, step)
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
    assert Algorithm(Config(batch_size=batch_size), SamplingConfig(), 0).rows_per_step <= len(ROWS)
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
        preference.Algorithm(preference.Config.model_validate({**settings, "precomputed": known}), SamplingConfig(), 0)
        for known in (True, False)
    )
    assert (alone.needs, beside.needs) == ({"policy"}, {"policy", "reference"})
    policy = SoftmaxPolicy()
    policy.logits = torch.randn(300, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    found = alone.measure(Roles(policy=policy), loaded).metrics
    wanted = beside.measure(Roles(policy=policy, reference=FrozenSoftmax(REFERENCE)), loaded).metrics
    assert found == pytest.approx(wanted, rel=1e-6)
    assert found["margin"] != 0


def reading(tmp_path: Path, *rows: dict[str, Any], **more: Any) -> Rows:
    """Of a run that trains on the rows."""
    (tmp_path / "known.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"train": {"path": str(tmp_path / "known.jsonl")}}
    own = {"name": "test", "model": {"path": "none"}, "data": data, "loop": {"steps": 1}, "output": tmp_path, **more}
    experiment = Experiment.model_validate(own).model_copy(update={"stage": preference.Config(precomputed=True, batch_size=1)})
    return Rows(experiment, build_algorithm(experiment, 0), byte_tokenizer(), RunDir(tmp_path))


def known(model: str) -> dict[str, Any]:
    return {**ROWS[0], "reference_log_probs": [-1.0, -2.0], "reference_tokens": [5, 4], "reference_model": model}


def test_rows_without_them_are_refused_by_name(tmp_path: Path):
    with pytest.raises(DataError, match=r"row train:2 has no reference_log_probs.*make them by stage reference_log_probs"):
        reading(tmp_path, known("one@1"), ROWS[1]).training()


def test_rows_of_several_references_are_refused(tmp_path: Path):
    """A reference goes by what is in it, whatever its folder was called."""
    reading(tmp_path, known("one@1"), known("copy/of/one@1")).training()
    with pytest.raises(
        DataError, match=r"row train:2 has the log-probs of one@2, and other rows have those of one@1; make them anew by stage"
    ):
        reading(tmp_path, known("one@1"), known("one@2")).training()
    rows = reading(
        tmp_path, known("one@1"), data={"train": {"path": str(tmp_path / "known.jsonl")}, "eval": {"path": str(tmp_path / "e.jsonl")}}
    )
    rows.training()
    (tmp_path / "e.jsonl").write_text(json.dumps(known("one@2")))
    with pytest.raises(DataError, match=r"e.jsonl: row train:1 has the log-probs of one@2, and other rows have those of one@1"):
        rows.held_out()


def test_rows_of_another_reference_than_the_one_that_is_named_are_refused(tmp_path: Path):
    one, other = (build("0.5m", tmp_path / name, seed=seed) for seed, name in enumerate(("one", "other")))
    reading(tmp_path, known(version_of(one)), reference={"path": str(one)}).training()
    with pytest.raises(DataError, match=r"row train:1 has the log-probs of other@\w{12}, and reference.path is one@\w{12}; make them anew"):
        reading(tmp_path, known(version_of(other)), reference={"path": str(one)}).training()


def test_a_kind_without_a_reference_has_no_use_for_them():
    with pytest.raises(ConfigError, match=r"^stage.precomputed: simpo asks for no reference here"):
        preference.Algorithm(preference.Config(kind="simpo", precomputed=True), SamplingConfig(), 0).needs  # noqa: B018


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        (
            {"reference_log_probs": [-1.0], "reference_tokens": [5, 4]},
            "reference_log_probs is not a list of 2 numbers, one for each answer",
        ),
        ({"reference_log_probs": [-1.0, None], "reference_tokens": [5, 4]}, "reference_log_probs: 2 is null, not a number"),
        ({"reference_log_probs": [-1.0, -2.0]}, "reference_tokens is not a list of 2 numbers, one for each answer"),
        ({"reference_log_probs": [-1.0, -2.0], "reference_tokens": [5, 4]}, "reference_model is null, not text"),
        (
            {"reference_log_probs": [-1.0, -2.0], "reference_tokens": [5, 3], "reference_model": "frozen@1"},
            "the reference's log-probs are of 5 and 3 tokens, and the answers have 5 and 4 here: they were measured with another tokenizer or "
            "template",
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
    with pytest.raises(ConfigError, match=r"^data.also: stage reference_log_probs takes one data set"):
        Algorithm(Config(batch_size=2), SamplingConfig(), 0).collect(Roles(reference=FrozenSoftmax(REFERENCE)), source, Step(1, 0, 0))
