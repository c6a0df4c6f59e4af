from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlsys.config.experiment import Experiment
from rlsys.data.load import Demonstration
from rlsys.errors import DataError
from rlsys.playground.models import byte_tokenizer
from rlsys.registry import resolve
from rlsys.run.inputs import Inputs


def jsonl(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    """Five usable rows and an unusable one."""
    return jsonl(
        tmp_path / "pairs.jsonl", *({"prompt": f"q{i}", "answer": "a"} for i in range(5)), {"prompt": "no answer"}
    )


def rows_of(data: dict[str, Any], **chosen: Any) -> Inputs:
    method = resolve("rlsys.methods", chosen["name"], "Config").model_validate(chosen)
    experiment = Experiment.model_validate(
        {"name": "test", "model": {"path": "none"}, "data": data, "method": method, "loop": {"steps": 1}}
    )
    return Inputs(experiment, byte_tokenizer(), lambda _: None)


@pytest.mark.parametrize(
    "chosen",
    [
        {"name": "sft", "batch_size": 6},
        {"name": "label_by_reward", "prompts_per_step": 7},
        {"name": "grpo", "prompts_per_step": 7},
    ],
)
def test_fewer_rows_than_a_step_takes_are_refused_at_once(pairs: str, chosen: dict[str, Any]):
    usable, wanted = (5, 6) if chosen["name"] == "sft" else (6, 7)  # a prompt needs no answer
    with pytest.raises(DataError) as error:
        rows_of({"train": {"path": pairs}}, **chosen).training()
    assert (
        str(error.value)
        == f"{pairs}: has {usable} usable rows, and a step takes {wanted}; take fewer a step or use more data"
    )


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
    assert [(str(tokenizer.decode(row.token_ids)), row.loss_mask) for row in held_out] == [
        ("<|bos|>xy<|eos|>", (0, 1, 1, 1))
    ]


def test_a_method_that_measures_itself_holds_out_rows_of_its_own_kind(pairs: str):
    held_out = rows_of({"train": {"path": pairs}, "eval": {"path": pairs}}, name="sft").held_out()
    assert held_out is not None
    assert [isinstance(row, Demonstration) for row in held_out] == [True] * 5


def test_another_tokenizer_s_lengths_are_not_judged_but_what_is_too_long_for_any_is(tmp_path: Path):
    """Bytes stand in for tokens of up to 256 of them: 600 may well be 5 tokens, 20 million can't be."""
    file = jsonl(tmp_path / "rows.jsonl", {"prompt": "x" * 600}, {"prompt": "x" * 20_000_000})
    rows = rows_of({"train": {"path": file}, "max_prompt_tokens": 5}, name="grpo")
    config = rows.experiment.data.train
    assert config is not None
    rows.any_length = True
    report = rows.read(config, "prompts").report
    assert (report.read, report.kept, report.too_long) == (2, 1, 1)
    rows.any_length = False
    with pytest.raises(DataError, match="2 longer than 5 tokens"):
        rows.read(config, "prompts")


def test_what_is_held_out_is_not_trained_on(tmp_path: Path):
    """By its hash, from every training set; each report says which part it is of."""
    file = jsonl(tmp_path / "rows.jsonl", *({"prompt": f"q{i}", "answer": "a"} for i in range(40)))
    rows = rows_of(
        {"train": {"path": file}, "also": [{"path": file}], "eval": {"share": 0.3}}, name="sft", batch_size=1
    )
    trained, held_out = (
        {row.token_ids for row in rows.training().take(200)},
        {row.token_ids for row in rows.held_out() or ()},
    )
    assert (len(trained) + len(held_out), trained & held_out) == (40, set())
    counts = [(report.split, report.read) for report in rows.reports]
    rest = ("train, all but the share 0.3", len(trained))
    assert counts == [rest, rest, ("train, the share 0.3", len(held_out))]
