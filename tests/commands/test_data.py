"""`rlsys data`: a report that changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rlsys.cli import app
from rlsys.errors import ConfigError

PAIR = {"prompt": "Why?", "chosen": "Because of the rain.", "rejected": "No."}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def jsonl(name: str, *rows: dict[str, Any]) -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def called(*arguments: str) -> dict[str, str]:
    """The table that a command prints, by its first column."""
    done = CliRunner().invoke(app, ["data", *arguments], env={"COLUMNS": "300"}, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    cells = [line.strip("│").split("│") for line in done.output.splitlines() if line.startswith("│")]
    return {name.strip(): told.strip() for name, told in cells}


def test_files_are_reported_on_together():
    jsonl("one.jsonl", {"q": "Who are you?", "answer": "jane@example.com"}, {"q": "b?", "answer": "c"})
    jsonl("two.jsonl", {"q": "B?", "answer": "C"})
    jsonl("test.jsonl", {"q": "who are you?"}, {"q": "z?"})
    options = ("--field", "prompt=q", "--against", "test.jsonl", "--output", "report")
    told = called("one.jsonl", "two.jsonl", *options)
    assert told["rows"] == "3 read (3 answered), 1 stay"
    assert told["duplicate"] == "1 (33.33%); the first: two.jsonl:1 of one.jsonl:2"
    assert told["contaminated"] == "1 (33.33%); the first: one.jsonl:1, test.jsonl:1"
    assert told["personal data"] == "in 1 rows: 1 email"
    assert told["contamination"] == "1 of 2 rows of test.jsonl (train) are found (50.00%)"
    assert json.loads(Path("report/curation.json").read_text())["counts"] == {
        "rows": 1,
        "duplicate": 1,
        "contaminated": 1,
    }
    assert len(Path("report/dropped.jsonl").read_text().splitlines()) == 2
    assert json.loads(Path("one.jsonl").read_text().splitlines()[0])["answer"] == "jane@example.com"


def test_comparisons_and_settings():
    turned = {**PAIR, "chosen": PAIR["rejected"], "rejected": PAIR["chosen"]}
    jsonl("pairs.jsonl", PAIR, {**PAIR, "prompt": "How?"}, turned)
    told = called("pairs.jsonl", "--set", "deduplication.near=null", "--set", "preferences.position=place")
    assert told["longer is chosen"].startswith("66.7% of 3 (")
    assert told["conflicting pairs"] == "1; pairs.jsonl:1 and pairs.jsonl:3"
    assert told["agreement"].startswith("1 pairs were compared again; judgements agree in 0.0% of 1")


def test_a_config_names_its_data_itself():
    jsonl("rows.jsonl", *[{"prompt": f"{n}?", "answer": "x"} for n in range(4)])
    jsonl("held.jsonl", {"prompt": "3?"})
    Path("own.yaml").write_text(
        "name: own\nmodel: {path: 'playground:0.5m'}\nmethod: {name: sft, batch_size: 2, max_tokens: 64}\n"
        "data: {train: {path: rows.jsonl}, eval: {path: held.jsonl}}\nloop: {steps: 1}\n"
    )
    assert called("own.yaml")["contamination"] == "1 of 1 rows of held.jsonl (train) are found (100.00%)"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["rows.jsonl", "--set", "pii.acton=drop"], "pii.acton: unknown key; did you mean action"),
        (["rows.jsonl", "--field", "prompt"], "wanted key=value"),
        (["own.yaml", "rows.jsonl"], "give it alone"),
    ],
)
def test_mistakes_are_told_in_a_line(arguments: list[str], told: str):
    jsonl("rows.jsonl", {"prompt": "a"})
    with pytest.raises(ConfigError, match=told):
        CliRunner().invoke(app, ["data", *arguments], catch_exceptions=False)
