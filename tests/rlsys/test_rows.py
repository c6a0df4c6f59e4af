from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlsys.algorithm import build_algorithm
from rlsys.config.models import Experiment
from rlsys.data.load import Demonstration
from rlsys.errors import DataError
from rlsys.playground.models import byte_tokenizer
from rlsys.registry import resolve
from rlsys.rows import Rows


def jsonl(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    """Five usable rows and an unusable one."""
    return jsonl(tmp_path / "pairs.jsonl", *({"prompt": f"q{i}", "answer": "a"} for i in range(5)), {"prompt": "no answer"})


def rows_of(data: dict[str, Any], kind: str = "stage", **chosen: Any) -> Rows:
    config = resolve("rlsys.stages" if kind == "stage" else "rlsys.algorithms", chosen["name"], "Config").model_validate(chosen)
    experiment = Experiment.model_validate({"name": "test", "model": {"path": "none"}, "data": data, "loop": {"steps": 1}})
    experiment = experiment.model_copy(update={kind: config})
    return Rows(experiment, build_algorithm(experiment, 0), byte_tokenizer())


@pytest.mark.parametrize(
    ("kind", "chosen"),
    [
        ("stage", {"name": "sft", "batch_size": 6}),
        ("stage", {"name": "prefer", "prompts_per_step": 7}),
        ("algorithm", {"name": "grpo", "prompts_per_step": 7}),
    ],
)
def test_fewer_rows_than_a_step_takes_are_refused_at_once(pairs: str, kind: str, chosen: dict[str, Any]):
    usable, wanted = (5, 6) if chosen["name"] == "sft" else (6, 7)  # a prompt needs no answer
    with pytest.raises(DataError) as error:
        rows_of({"train": {"path": pairs}}, kind, **chosen).training()
    assert str(error.value) == f"{pairs}: has {usable} usable rows, and a step takes {wanted}; take fewer a step or use more data"


def test_as_many_as_a_step_takes_are_enough(pairs: str):
    rows = rows_of({"train": {"path": pairs}}, name="sft", batch_size=5)
    assert len({row.row_id for row in rows.training().take(5)}) == 5
    assert [report.counts() for report in rows.reports] == [
        {
            "source": pairs,
            "split": "train",
            "format": "prompt_answer",
            "read": 6,
            "kept": 5,
            "too_long": 0,
            "quarantined": 1,
            "unanswered": 0,
        }
    ]


def test_a_small_set_in_a_mixture_comes_round_again(tmp_path: Path, pairs: str):
    chat = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]
    also = jsonl(tmp_path / "chat.jsonl", {"messages": chat}, {"messages": chat})
    source = rows_of({"train": {"path": pairs}, "also": [{"path": also}]}, name="sft", batch_size=64).training()
    assert {row.row_id for row in source.take(64)} == {f"0/train:{i}" for i in range(1, 6)} | {"1/train:1", "1/train:2"}


def test_raw_text_is_cut_into_blocks_for_training_and_for_measuring(tmp_path: Path):
    """BOS and three tokens a block: `abcde` and EOS are two blocks, `xy` and EOS one."""
    data = {
        "train": {"path": jsonl(tmp_path / "t.jsonl", {"text": "abcde"}), "split": "train"},
        "eval": {"path": jsonl(tmp_path / "test.jsonl", {"text": "xy"}), "split": "test"},
    }
    rows = rows_of(data, name="sft", tokens="all", batch_size=2, max_tokens=4)
    found, held_out = rows.training().take(2), rows.held_out()
    assert held_out is not None
    tokenizer = byte_tokenizer()
    assert sorted(str(tokenizer.decode(row.token_ids)) for row in found) == ["<|bos|>abc", "<|bos|>de<|eos|>"]
    assert [(str(tokenizer.decode(row.token_ids)), row.loss_mask) for row in held_out] == [("<|bos|>xy<|eos|>", (0, 1, 1, 1))]


def test_a_stage_that_measures_itself_holds_out_rows_of_its_own_kind(pairs: str):
    held_out = rows_of({"train": {"path": pairs}, "eval": {"path": pairs}}, name="sft").held_out()
    assert held_out is not None
    assert [isinstance(row, Demonstration) for row in held_out] == [True] * 5
