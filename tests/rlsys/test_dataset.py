from __future__ import annotations

import json
from pathlib import Path

from rlsys.dataset import Dataset
from rlsys.files import read_lines

# What str.splitlines cuts at, beyond \n: vertical tab, form feed, the file, group and record separators, next line, line and paragraph separator.
ODD = "a\v\f\x1c\x1d\x1e\x85\u2028\u2029\r\nb"


def test_a_text_with_any_line_separator_stays_one_row(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path / "dataset.jsonl")
    dataset.append(1, [{"text": ODD}, {"text": "c"}])
    dataset.append(2, [{"text": "d"}])
    dataset.truncate_after(1)
    assert [json.loads(line) for line in read_lines(dataset.path)] == [{"text": ODD, "step": 1}, {"text": "c", "step": 1}]
