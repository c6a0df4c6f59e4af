"""Several prompt formats for one task, and rows chosen by their columns."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rlsys.config.dataset import DatasetConfig
from rlsys.data.load import load_demonstrations, load_prompts
from rlsys.data.sources import read_rows
from rlsys.errors import ConfigError, NoUsableRow
from rlsys.playground.models import byte_tokenizer

TEMPLATES = ("{q}", "Solve: {q}", "Question: {q}\nAnswer:")


def jsonl(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def asked(config: DatasetConfig) -> list[str]:
    return [prompt.text for prompt in load_prompts(config, byte_tokenizer(), 100, False, None).rows]


def test_each_row_is_asked_in_one_of_them_whatever_its_place(tmp_path: Path):
    """Of 600 rows each template gets 200 +- 12."""
    rows = [{"q": f"{n}+1", "answer": str(n + 1)} for n in range(600)]
    config = DatasetConfig(path=jsonl(tmp_path / "a.jsonl", *rows), templates=TEMPLATES, chat_template="never")
    texts = asked(config)
    counts = Counter(
        next(t for t in TEMPLATES if t.format(q=row["q"]) == text) for row, text in zip(rows, texts, strict=True)
    )
    assert all(count == pytest.approx(200, abs=4 * 12) for count in counts.values())
    assert len(counts) == 3
    turned = config.model_copy(update={"path": jsonl(tmp_path / "b.jsonl", *rows[::-1])})
    assert asked(turned) == texts[::-1]


def test_demonstrations_have_them_too(tmp_path: Path):
    path = jsonl(tmp_path / "a.jsonl", {"q": "1+1", "answer": "2"})
    config = DatasetConfig(path=path, templates=("Solve: {q} ", "Now: {q} "), chat_template="never")
    ((row,),) = (load_demonstrations(config, byte_tokenizer(), 100, False, None).rows,)
    assert byte_tokenizer().decode(list(row.token_ids[:-1])) in ("Solve: 1+1 2", "Now: 1+1 2")


def test_what_templates_can_not_be(tmp_path: Path):
    path = jsonl(tmp_path / "a.jsonl", {"q": "1+1", "answer": "2"})
    with pytest.raises(ValidationError, match="templates and prompt_format both make the prompt"):
        DatasetConfig(path=path, templates=TEMPLATES, prompt_format="{q}")
    with pytest.raises(ValidationError, match="names one of them twice"):
        DatasetConfig(path=path, templates=("{q}", "{q}"))
    with pytest.raises(ConfigError, match="templates 'no column' must name columns"):
        asked(DatasetConfig(path=path, templates=("{q}", "no column")))
    with pytest.raises(NoUsableRow, match=r"no column 'nothing' .* data\.\*\.templates asks for it"):
        asked(DatasetConfig(path=path, templates=("{q}", "{nothing}")))


def test_rows_by_their_columns(tmp_path: Path):
    rows = [{"q": "a", "about": {"split": "test"}}, {"q": "b", "about": {"split": "train"}}, {"q": "c"}]
    path = jsonl(tmp_path / "a.jsonl", *rows)
    config = DatasetConfig(path=path, where={"about.split": "test"})
    found = list(read_rows(config))
    assert [(raw.number, raw.problem is None) for raw in found] == [(1, True), (3, False)]
    assert "no column 'about.split'" in str(found[1].problem)
    assert config.label == "train, where about.split is test"
