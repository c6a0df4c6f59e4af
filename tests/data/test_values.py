"""What a row says is what is read: numbers exactly, what is missing as missing, labels in the words that people use."""

from __future__ import annotations

import csv
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rlsys.config.dataset import DatasetConfig
from rlsys.data.labelled import load_labelled
from rlsys.data.load import load_comparisons, load_demonstrations, load_prompts
from rlsys.data.report import Loaded
from rlsys.data.values import as_text
from rlsys.playground.models import byte_tokenizer

REAL = Path("../shared/data/inputs")
HUGE = 123456789012345678901234567890


def prompts(path: Path, **settings: Any) -> Loaded[Any]:
    return load_prompts(
        DatasetConfig(path=str(path), chat_template="never", **settings), byte_tokenizer(), 1000, False, None
    )


def lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("3.0", "3.0"),
        (3, "3"),
        (3.0, "3"),
        (-0.5, "-0.5"),
        (1e15, "1000000000000000"),
        (1e22, "1e+22"),  # a float this large is no whole number in particular
        (HUGE, str(HUGE)),
        (True, "true"),
        (False, "false"),
        (Decimal("3.00"), "3"),
        (Decimal("0.10"), "0.10"),
        ([1.0, None, float("nan")], "[1, null, null]"),
        ({"a": [2.0, "ü"]}, '{"a": [2, "ü"]}'),
    ],
)
def test_a_value_as_text(value: Any, text: str):
    assert as_text(value) == text


@pytest.mark.parametrize("missing", [None, float("nan"), float("inf"), float("-inf")])
def test_what_is_missing_is_no_answer_and_no_field(tmp_path: Path, missing: float | None):
    rows = [{"prompt": "one", "answer": missing, "level": missing}, {"prompt": "two", "answer": 2.0, "level": 5.0}]
    file = lines(tmp_path / "rows.jsonl", rows)
    loaded = prompts(file, fields={"level": "level"})
    assert [(row.text, row.answer, row.fields) for row in loaded.rows] == [
        ("one", None, {}),
        ("two", "2", {"level": "5"}),
    ]
    assert (loaded.report.unanswered, loaded.report.kept) == (1, 2)
    needed = prompts(file, fields={"answer": "answer"})
    assert ([row.text for row in needed.rows], needed.report.quarantined) == (["two"], 1)
    learned = load_demonstrations(DatasetConfig(path=str(file)), byte_tokenizer(), 100, False, None)
    assert (learned.report.kept, learned.report.reason) == (1, "no answer to learn from")


def test_a_missing_last_column_is_as_an_empty_one(tmp_path: Path):
    rows = [{"instruction": "Say hi.", "input": float("nan")}, {"instruction": float("nan"), "input": "x"}]
    loaded = prompts(lines(tmp_path / "rows.jsonl", rows), prompt_format="{instruction}\n\n{input}")
    assert [row.text for row in loaded.rows] == ["Say hi."]
    assert loaded.report.reason == "column 'instruction' is missing (NaN or infinity), and prompt_format needs it"


def test_columns_of_a_parquet_file_that_pandas_wrote(tmp_path: Path):
    """Whole numbers beside a missing one are a column of floats there."""
    columns = {
        "prompt": ["a", "b", "c"],
        "answer": pa.array([18.0, None, 2.5]),
        "big": pa.array([2**63 - 1, 1, 2], pa.int64()),
    }
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    loaded = prompts(tmp_path / "rows.parquet", fields={"big": "big"})
    assert [(row.answer, row.fields["big"]) for row in loaded.rows] == [
        ("18", "9223372036854775807"),
        (None, "1"),
        ("2.5", "2"),
    ]


def test_huge_integers_are_exact(tmp_path: Path):
    (row,) = prompts(lines(tmp_path / "rows.jsonl", [{"prompt": "a", "answer": HUGE}])).rows
    assert row.answer == str(HUGE)


def test_truth_values_are_answers(tmp_path: Path):
    """As BoolQ has them."""
    loaded = prompts(
        lines(tmp_path / "rows.jsonl", [{"prompt": "a", "answer": True}, {"prompt": "b", "answer": False}])
    )
    assert [row.answer for row in loaded.rows] == ["true", "false"]


def test_cells_of_a_table(tmp_path: Path):
    with (tmp_path / "pairs.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [
                ["prompt", "chosen", "rejected", "margin", "preference"],
                ["q", "a", "b", "0.5", ""],
                ["q", "a", "b", "", " 1e-1 "],
                ["q", "", "b", "", ""],
            ]
        )
    loaded = load_comparisons(DatasetConfig(path=str(tmp_path / "pairs.csv")), byte_tokenizer(), 100, False, None)
    assert [(row.grades, row.preference) for row in loaded.rows] == [((0.5, 0.0), 1.0), ((0.0, 1.0), 0.9)]
    assert loaded.report.reason == "chosen is null, not text"
    (tmp_path / "answers.csv").write_text("prompt,answer\n7+8=,0015\n\n1+1=,\n")
    answers = prompts(tmp_path / "answers.csv")
    assert ([row.answer for row in answers.rows], answers.report.unanswered) == (["0015", None], 1)


GOOD = (True, 1, 1.0, "1", "1.0", "true", "True", " YES ", "good", "desirable")
BAD = (False, 0, 0.0, "0", " 0.0", "false", "No", "bad", "undesirable")
NEITHER = {
    None: "null",
    2: "2",
    -1: "-1",
    0.5: "0.5",
    "maybe": "'maybe'",
    float("nan"): "missing (NaN or infinity)",
    "": "''",
}


def test_labels_in_the_words_that_people_use(tmp_path: Path):
    rows = [{"prompt": "q", "completion": "a", "label": label} for label in (*GOOD, *BAD, *NEITHER)]
    aside = tmp_path / "aside.jsonl"
    loaded = load_labelled(
        DatasetConfig(path=str(lines(tmp_path / "rows.jsonl", rows))), byte_tokenizer(), 100, False, aside
    )
    assert [row.desirable for row in loaded.rows] == [True] * len(GOOD) + [False] * len(BAD)
    reasons = [json.loads(line)["reason"] for line in aside.read_text().splitlines()]
    assert reasons == [f"the label is {said}, not true or false" for said in NEITHER.values()]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "completion": "a"},
        {"prompt": "q", "answer": "a"},
        {"instruction": "q", "output": "a"},
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
    ],
)
def test_a_bad_answer_is_not_imitated(tmp_path: Path, row: dict[str, Any]):
    """An answer that its label calls bad is no demonstration, and one whose label says something else is."""
    rows = [{**row, "label": label} for label in (True, "no", "0.0", 7)]
    file = lines(tmp_path / "rows.jsonl", rows)
    loaded = load_demonstrations(DatasetConfig(path=str(file)), byte_tokenizer(), 100, False, None)
    assert [row.row_id for row in loaded.rows] == ["train:1", "train:4"]
    assert loaded.report.reason.startswith("the label calls the answer bad")
    assert (
        load_demonstrations(
            DatasetConfig(path=str(file), ignore=("label",)), byte_tokenizer(), 100, True, None
        ).report.kept
        == 4
    )


def test_a_label_that_is_something_else_is_no_judgement(tmp_path: Path):
    """A class to be told, and a ground truth."""
    file = lines(tmp_path / "rows.jsonl", [{"prompt": "q", "label": 0}])
    for settings in ({"fields": {"answer": "label"}}, {"fields": {"answer": "prompt"}, "prompt_format": "{label}?"}):
        config = DatasetConfig(path=str(file), **settings)  # type: ignore[arg-type]
        assert load_demonstrations(config, byte_tokenizer(), 100, True, None).report.kept == 1
    lines(file, [{"prompt": "q", "answer": "4", "label": False}])
    assert [row.answer for row in prompts(file).rows] == ["4"]


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_columns_of_a_table_that_pandas_wrote(tmp_path: Path, suffix: str):
    """Whole numbers beside a missing one are a column of floats; in a column of anything else they are as they are."""
    rows = [
        ["prompt", "answer", "mixed", "version", "label"],
        ["one", "3.0", "3.0", "3.0", "1.0"],
        ["two", "", "2.5", "3.0", "0.0"],
        ["nan", "nan", "inf", "beta", "1.0"],
        ["four", "-12.0", "", "Nan", "2.0"],
    ]
    with (tmp_path / f"rows{suffix}").open("w", newline="") as file:
        csv.writer(file, delimiter="\t" if suffix == ".tsv" else ",").writerows(rows)
    fields = {"mixed": "mixed", "version": "version"}
    loaded = prompts(tmp_path / f"rows{suffix}", fields=fields)
    assert [(row.text, row.answer, row.fields) for row in loaded.rows] == [
        ("one", "3", {"mixed": "3.0", "version": "3.0"}),
        ("two", None, {"mixed": "2.5", "version": "3.0"}),
        ("four", "-12", {"version": "Nan"}),
    ]
    assert loaded.report.reason == "the prompt is null, not text"
    config = DatasetConfig(path=str(tmp_path / f"rows{suffix}"), fields={"completion": "version"})
    labelled = load_labelled(config, byte_tokenizer(), 100, False, None)
    assert ([row.desirable for row in labelled.rows], labelled.report.reason) == (
        [True, False],
        "the prompt is null, not text",
    )


def test_numbers_in_a_text_stay_as_they_are(tmp_path: Path):
    file = lines(tmp_path / "rows.jsonl", [{"prompt": "q", "answer": text} for text in ("3.0", "nan")])
    assert [row.answer for row in prompts(file).rows] == ["3.0", "nan"]


@pytest.mark.parametrize(
    ("name", "settings", "answers", "unanswered"),
    [
        ("nan_answer", {}, [None, "2", None], 2),
        ("nan_column", {"prompt_format": "{instruction}\n\n{input}", "fields": {"answer": "output"}}, ["hi", "ho"], 0),
        ("nested_truth", {"chat_template": "auto"}, [None] * 4, 4),
        (
            "nested_truth",
            {"chat_template": "auto", "fields": {"answer": "reward_model.ground_truth"}},
            ["2", "3", "4", "5"],
            0,
        ),
    ],
)
def test_the_inputs_that_went_wrong(name: str, settings: dict[str, Any], answers: list[str | None], unanswered: int):
    file = REAL / f"{name}.jsonl"
    if not file.is_file():
        pytest.skip(f"{file} is not beside the repository")
    loaded = load_prompts(DatasetConfig(path=str(file), **settings), byte_tokenizer(), 100, True, None)
    assert [row.answer for row in loaded.rows] == answers
    assert loaded.report.unanswered == unanswered
    assert not any("nan" in row.text.lower() for row in loaded.rows)
