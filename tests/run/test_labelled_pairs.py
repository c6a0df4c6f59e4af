import json
from pathlib import Path
from typing import Any

import pytest

from rlsys.config.dataset import DatasetConfig
from rlsys.errors import DataError
from rlsys.run.labelled_pairs import LabelledPair, load_labelled_pairs


def dataset(tmp_path: Path, *rows: Any, **settings: Any) -> DatasetConfig:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return DatasetConfig(path=str(path), **settings)


def test_pairs_dialogues_and_rankings(tmp_path: Path):
    rows = [
        {"prompt": "Hi?", "chosen": "Hello!", "rejected": "No."},
        {"chosen": "\n\nHuman: Hi?\n\nAssistant: Hello!", "rejected": "\n\nHuman: Hi?\n\nAssistant: No."},
        {"prompt": "Hi?", "answers": ["a", "b", "c"], "grades": [1, 3, 2]},
        {"prompt": "Hi?", "chosen": "No.", "rejected": "Hello!", "preference": 0.25},
    ]
    found, report = load_labelled_pairs(dataset(tmp_path, *rows))
    turns = ({"role": "user", "content": "Hi?"},)
    assert found == [
        LabelledPair("train:1", "Hi?", "Hello!", "No."),
        LabelledPair("train:2", turns, "Hello!", "No."),
        LabelledPair("train:3", "Hi?", "b", "a"),
        LabelledPair("train:4", "Hi?", "Hello!", "No."),
    ]
    assert (report.read, report.kept, report.quarantined) == (4, 4, 0)


def test_rows_that_say_nothing_are_counted(tmp_path: Path):
    good = {"prompt": "Hi?", "chosen": "Hello!", "rejected": "No."}
    config = dataset(tmp_path, "{", good | {"preference": 0.5}, good, good)
    found, report = load_labelled_pairs(config)
    assert [row.row_id for row in found] == ["train:3", "train:4"]
    assert (report.read, report.kept, report.quarantined) == (4, 2, 2)
    assert [row.row_id for row in load_labelled_pairs(config, limit=1)[0]] == ["train:3"]


def test_none_left_is_one_line_with_the_first_reason(tmp_path: Path):
    with pytest.raises(DataError, match=r"no usable comparison among 1 rows; first bad row, 1: the preference is 0\.5"):
        load_labelled_pairs(dataset(tmp_path, {"prompt": "Hi?", "chosen": "a", "rejected": "b", "preference": 0.5}))
