from __future__ import annotations

import json
from pathlib import Path

from rlsys.files import read_lines
from rlsys.run.made_dataset import MadeDataset

# What str.splitlines cuts at, beyond \n: vertical tab, form feed, the file, group and record separators, next line,
# line and paragraph separator.
ODD = "a\v\f\x1c\x1d\x1e\x85\u2028\u2029\r\nb"


def test_a_text_with_any_line_separator_stays_one_row(tmp_path: Path) -> None:
    dataset = MadeDataset(tmp_path / "dataset.jsonl")
    dataset.append(1, [{"text": ODD}, {"text": "c"}])
    dataset.append(2, [{"text": "d"}])
    dataset.truncate_after(1)
    assert [json.loads(line) for line in read_lines(dataset.path)] == [
        {"text": ODD, "step": 1},
        {"text": "c", "step": 1},
    ]


def test_what_was_read_once_is_not_read_again(tmp_path: Path) -> None:
    """What stands in the file before the rows that are known is never looked at: here it no longer is any JSON."""
    dataset = MadeDataset(tmp_path / "dataset.jsonl")
    assert list(dataset.rows()) == []
    dataset.append(1, [{"text": ODD}])
    first = [{"text": ODD, "step": 1}]
    assert list(dataset.rows()) == first
    dataset.path.write_bytes(b"x" * dataset.path.stat().st_size)
    dataset.append(2, [{"ids": (1, 2)}])
    assert list(dataset.rows()) == [*first, {"ids": [1, 2], "step": 2}]


def test_rows_that_were_forgotten_are_not_remembered(tmp_path: Path) -> None:
    """A run that goes on from step 1 makes step 2 anew, in as many bytes."""
    dataset = MadeDataset(tmp_path / "dataset.jsonl")
    for step, text in ((1, "a"), (2, "b")):
        dataset.append(step, [{"text": text}])
    assert len(dataset.rows()) == 2
    dataset.truncate_after(1)
    dataset.append(2, [{"text": "c"}])
    assert list(dataset.rows()) == [{"text": "a", "step": 1}, {"text": "c", "step": 2}]
