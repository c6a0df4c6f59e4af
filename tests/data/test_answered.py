"""Prompts with the answer that belongs to them, and rows that are found again by their ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.scripted_sampler import EOS, TOKENIZER

from rlsys.check.load import load as load_config
from rlsys.config.dataset import DatasetConfig
from rlsys.config.experiment import DataConfig
from rlsys.data.answered import Answered, load_answered
from rlsys.data.mixture import build_source
from rlsys.data.report import Loaded
from rlsys.errors import DataError


def load(file: Path, rows: list[Any], prompt: int = 100, answer: int = 100, **settings: Any) -> Loaded[Answered]:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = DatasetConfig(path=str(file), **settings)
    return load_answered(config, TOKENIZER, prompt, False, None, max_answer_tokens=answer)


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def test_the_demonstration_goes_on_where_the_prompt_ends(tmp_path: Path):
    """Of a dialogue the last assistant turn is the answer; what came before, the assistant's own words too, belongs to
    the prompt."""
    dialogue = [turn("user", "a"), turn("assistant", "b"), turn("user", "c"), turn("assistant", "de")]
    plain, chat = load(tmp_path / "rows.jsonl", [{"prompt": "ab", "answer": "xyz"}, {"messages": dialogue}]).rows
    assert plain.prompt.turns == "ab"
    assert chat.prompt.turns == tuple(dialogue[:3])
    for row, answer in ((plain, b"xyz"), (chat, b"de")):
        before = len(row.prompt.token_ids)
        assert row.demonstration.token_ids == (*row.prompt.token_ids, *answer, EOS)
        assert row.demonstration.loss_mask == (0,) * before + (1,) * (len(answer) + 1)
    assert (plain.prompt.answer, plain.row_id, chat.row_id) == ("xyz", "train:1", "train:2")


def test_messages_beside_a_prompt_have_the_answer(tmp_path: Path):
    """UltraChat's columns: its prompt is the first question of the messages, and has no answer of its own."""
    ultrachat = {"prompt": "a", "prompt_id": "0", "messages": [turn("user", "a"), turn("assistant", "b")]}
    config = load_config(Path(__file__).parents[2] / "configs" / "spin" / "chat.yaml", this_machine=False)
    assert config.data.eval is not None
    for one in (config.data.train, config.data.eval):
        assert one is not None
        (row,) = load(tmp_path / "rows.jsonl", [ultrachat], fields=one.fields).rows
        assert row.demonstration.token_ids[-2:] == (ord("b"), EOS)
    (row,) = load(tmp_path / "rows.jsonl", [ultrachat]).rows
    assert row.demonstration.token_ids[-2:] == (ord("b"), EOS)
    with pytest.raises(DataError, match="no answer to learn from"):
        load(tmp_path / "rows.jsonl", [ultrachat], format="prompt")


def test_each_part_has_its_own_limit(tmp_path: Path):
    """The prompt "ab" takes 5 tokens with its template (BOS, two marks, two letters), "xyz" 4 with EOS."""
    rows = [
        {"prompt": "ab", "answer": "xyz"},
        {"prompt": "abcdefghi", "answer": "x"},
        {"prompt": "a", "answer": "uvwxyz"},
    ]
    loaded = load(tmp_path / "rows.jsonl", rows, prompt=5, answer=4)
    assert [row.row_id for row in loaded.rows] == ["train:1"]
    assert (loaded.report.too_long, loaded.report.quarantined) == (2, 0)


def test_rows_that_have_no_answer_are_put_aside(tmp_path: Path):
    rows = [
        {"prompt": "ab", "answer": "x"},
        {"prompt": "ab"},
        {"prompt": "ab", "answer": " "},
        {"messages": [turn("assistant", "b")]},
        {"messages": [turn("user", "a")]},
        {"messages": [turn("user", "a"), turn("assistant", "b"), turn("assistant", "c")]},
    ]
    assert load(tmp_path / "rows.jsonl", rows).report.quarantined == 5
    with pytest.raises(DataError, match="the last assistant turn answers nobody"):
        load(tmp_path / "rows.jsonl", rows[-1:])


@pytest.mark.parametrize("mixed", [False, True])
def test_rows_are_found_again_by_id_whatever_was_taken(tmp_path: Path, mixed: bool):
    rows = [{"prompt": letter, "answer": letter * 2} for letter in "abcdef"]
    loaded = [load(tmp_path / "rows.jsonl", rows)] * (1 + mixed)
    also = (DatasetConfig(path="another"),) if mixed else ()
    source = build_source(loaded, DataConfig(train=DatasetConfig(path="one"), also=also), seed=1)
    taken = [row for _ in range(4) for row in source.take(3)]
    assert {row.prompt.epoch for row in taken} >= {0, 1} or mixed
    found = source.find([row.row_id for row in taken])
    assert [row.demonstration for row in found] == [row.demonstration for row in taken]
    with pytest.raises(DataError, match="has no row"):
        source.find(["0/train:77"] if mixed else ["train:77"])
