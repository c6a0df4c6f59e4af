"""Seed tasks of Self-Instruct."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.scripted_sampler import TOKENIZER

from rlsys.config.dataset import DatasetConfig
from rlsys.data.report import Loaded
from rlsys.data.tasks import Instance, Task, TaskSet, load_tasks
from rlsys.errors import ConfigError, DataError

GOOD = {
    "id": "t",
    "name": "n",
    "instruction": " Name a bird. ",
    "instances": [{"input": "", "output": "a wren"}],
    "is_classification": False,
}


def load(tmp_path: Path, *lines: str, strict: bool = False, **settings: Any) -> Loaded[TaskSet]:
    (tmp_path / "seeds.jsonl").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return load_tasks(
        DatasetConfig(path=str(tmp_path / "seeds.jsonl"), **settings),
        TOKENIZER,
        50,
        strict,
        tmp_path / "quarantine.jsonl",
    )


def test_all_tasks_are_one_row(tmp_path: Path):
    second = {
        "question": "Good or bad?",
        "is_classification": True,
        "instances": [{"input": "x", "output": "bad"}, {"output": "good"}],
    }
    first = {**GOOD, "question": GOOD["instruction"]}
    loaded = load(tmp_path, json.dumps(first), json.dumps(second), fields={"instruction": "question"})
    (seeds,) = loaded.rows
    assert seeds.tasks == (
        Task("t", "Name a bird.", (Instance("", "a wren"),), False),
        Task("train:2", "Good or bad?", (Instance("x", "bad"), Instance("", "good")), True),
    )
    assert (loaded.report.read, loaded.report.kept, loaded.report.quarantined) == (2, 2, 0)


def test_ids_may_be_numbers_and_0_is_one(tmp_path: Path):
    lines = [json.dumps({**GOOD, "id": number}) for number in (0, 1, "", None)]
    (seeds,) = load(tmp_path, *lines).rows
    assert [task.task_id for task in seeds.tasks] == ["0", "1", "train:3", "train:4"]


BROKEN = {
    '{"instruction": "x", ': "broken JSON",
    "[1]": "a row is an object with columns, this is a list",
    json.dumps(
        {"instruction": "x"}
    ): "no column 'instances' (there are: 'instruction'); data.*.fields says which column is what",
    json.dumps({**GOOD, "instruction": " "}): "the instruction is empty",
    json.dumps({**GOOD, "instruction": 3}): "the instruction is a number, not text",
    json.dumps({**GOOD, "instances": []}): "instances is an empty list",
    json.dumps({**GOOD, "instances": ["x"]}): "instance 1 is text without an output",
    json.dumps({**GOOD, "instances": [{"input": "x"}]}): "instance 1 is an object without an output",
    json.dumps({**GOOD, "instances": [{"output": " "}]}): "the output of instance 1 is empty",
    json.dumps({**GOOD, "is_classification": "no"}): "is_classification is text, not true or false",
    json.dumps(GOOD): "the id 't' is that of an earlier task",
}


def test_broken_lines_are_put_aside_and_counted(tmp_path: Path):
    loaded = load(tmp_path, json.dumps(GOOD), *BROKEN)
    assert (loaded.report.read, loaded.report.kept, loaded.report.quarantined) == (1 + len(BROKEN), 1, len(BROKEN))
    aside = [json.loads(line) for line in (tmp_path / "quarantine.jsonl").read_text().splitlines()]
    assert [entry["row"] for entry in aside] == list(range(2, 2 + len(BROKEN)))
    for entry, reason in zip(aside, BROKEN.values(), strict=True):
        assert reason in entry["reason"]
    with pytest.raises(DataError, match=r"seeds\.jsonl:2: broken JSON.*data\.strict"):
        load(tmp_path, json.dumps(GOOD), *BROKEN, strict=True)


def test_nothing_but_broken_lines_is_an_error(tmp_path: Path):
    with pytest.raises(DataError, match=r"no usable row among 1 \(1 bad; first bad row, 1: "):
        load(tmp_path, '{"instruction"')


def test_settings_that_mean_nothing_here_are_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="prompt_format has no effect on seed tasks"):
        load(tmp_path, json.dumps(GOOD), prompt_format="{instruction}")


def test_a_prompt_has_a_length(tmp_path: Path):
    (seeds,) = load(tmp_path, json.dumps(GOOD), chat_template="never").rows
    assert seeds.prompt("p", "x" * 51) is None
    prompt = seeds.prompt("p", "x" * 49)
    assert prompt is not None
    assert (prompt.prompt_id, prompt.text) == ("p", "x" * 49)
