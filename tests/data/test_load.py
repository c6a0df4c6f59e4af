import gzip
import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from rlsys.config.dataset import DatasetConfig
from rlsys.data.load import load_demonstrations, load_prompts
from rlsys.data.messages import ROLES
from rlsys.errors import ConfigError, DataError
from rlsys.files import read_lines
from rlsys.playground.models import byte_tokenizer

TOKENIZER = byte_tokenizer()
REAL = Path("../shared/data")


def write(path: Path, *lines: Any) -> Path:
    raw = [
        line if isinstance(line, bytes) else (line if isinstance(line, str) else json.dumps(line)).encode()
        for line in lines
    ]
    path.write_bytes(b"\n".join(raw) + b"\n")
    return path


def prompts(path: Path | str, quarantine: Path | None = None, strict: bool = False, max_tokens: int = 100, **settings):
    return load_prompts(DatasetConfig(path=str(path), **settings), TOKENIZER, max_tokens, strict, quarantine)


BAD_LINES = (
    ({"prompt": "fine", "answer": "a"}, None),
    ('{"prompt": "cut', "broken JSON: Unterminated string starting at (column 12)"),
    ("", "blank lines are no rows"),
    (
        {"question": "q"},
        "no column 'prompt' or 'messages' (there are: 'question'); data.*.fields says which column is what",
    ),
    ({"prompt": "  "}, "the prompt is empty"),
    ({"prompt": ["a"]}, f"turn 1 of the messages has no role among {', '.join(ROLES)}"),
    ({"prompt": {"a": 1}}, f"turn 1 of the messages has no role among {', '.join(ROLES)}"),
    ({"prompt": 3}, "the prompt is a number, not text"),
    ("[1, 2]", "a row is an object with columns, this is a list"),
    (b'{"prompt": "\xff"}', "not UTF-8: invalid start byte at byte 12"),
    ({"prompt": "x", "answer": ["a"]}, "the answer is a list, not text or a number"),
    (
        {"messages": [{"role": "robot", "content": "x"}]},
        f"turn 1 of the messages has no role among {', '.join(ROLES)}",
    ),
    ({"messages": [{"role": "system", "content": "x"}]}, "messages without a user turn: no prompt"),
    ({"prompt": "also fine", "answer": 42}, None),
)


def test_bad_lines_are_put_aside_with_line_and_reason(tmp_path: Path):
    file = write(tmp_path / "rows.jsonl", *(line for line, _ in BAD_LINES))
    aside = tmp_path / "quarantine.jsonl"
    prompts(file, aside)
    loaded = prompts(file, aside)  # loading again, as on resume, lists nothing twice
    entries = [json.loads(line) for line in read_lines(aside)]
    assert [(p.prompt_id, p.answer) for p in loaded.rows] == [("train:1", "a"), ("train:14", "42")]
    reasons = {number: reason for number, (line, reason) in enumerate(BAD_LINES, start=1) if reason and line}
    assert {entry["row"]: entry["reason"] for entry in entries} == reasons
    assert entries[0]["content"] == '{"prompt": "cut'
    assert loaded.report.counts() == {
        "source": str(file),
        "split": "train",
        "format": "prompt_answer",
        "unanswered": 0,
        "read": 13,
        "kept": 2,
        "too_long": 0,
        "quarantined": 11,
    }


def test_strict_stops_at_the_first_bad_line_and_names_it(tmp_path: Path):
    file = write(tmp_path / "rows.jsonl", {"prompt": "fine"}, {"prompt": ""})
    with pytest.raises(DataError) as error:
        prompts(file, strict=True)
    assert str(error.value) == f"{file}:2: the prompt is empty (data.strict stops at the first bad row)"


def test_length_filter_counts_what_it_drops_and_keeps_the_exact_limit(tmp_path: Path):
    file = write(tmp_path / "rows.jsonl", {"prompt": "12345"}, {"prompt": "123456"})
    loaded = prompts(file, max_tokens=5, chat_template="never")
    assert [p.text for p in loaded.rows] == ["12345"]
    assert (loaded.report.too_long, loaded.report.read) == (1, 2)
    with pytest.raises(DataError, match="no usable row among 2 \\(2 longer than 4 tokens, 0 bad\\)"):
        prompts(file, max_tokens=4, chat_template="never")


def test_limit_takes_the_first_rows(tmp_path: Path):
    file = write(tmp_path / "rows.jsonl", {"prompt": "1"}, {"prompt": ""}, {"prompt": "3"})
    loaded = prompts(file, limit=2)
    assert (loaded.report.read, loaded.report.quarantined, len(loaded.rows)) == (2, 1, 1)


def test_columns_are_mapped_and_further_ones_passed_on(tmp_path: Path):
    file = write(tmp_path / "rows.jsonl", {"question": "q", "solution": "2+2 #### 3 #### 4 ", "level": {"n": 1}})
    columns = {"prompt": "question", "answer": "solution", "level": "level"}
    (row,) = prompts(file, fields=columns, answer_after="####").rows
    assert (row.answer, row.fields) == ("4", {"level": '{"n": 1}'})
    with pytest.raises(DataError, match="answer without the marker '@@'"):
        prompts(file, fields=columns, answer_after="@@")
    with pytest.raises(
        DataError,
        match=r"no column 'q' \(there are: 'question', 'solution', 'level.n'\), and data\.\*\.fields asks for it",
    ):
        prompts(file, fields={"prompt": "q"})
    with pytest.raises(ConfigError, match="both prompt and messages"):
        prompts(file, fields={"prompt": "question", "messages": "m"})


@pytest.mark.parametrize(
    "kind", ["jsonl", "jsonl.gz", "json", "parquet", "folder of jsonl", "folder of parquet", "save_to_disk"]
)
def test_every_kind_of_source_gives_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    rows = [{"prompt": f"p{i}", "answer": str(i)} for i in range(3)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    table = datasets.Dataset.from_list(rows)
    path = tmp_path / ("train.parquet" if kind == "folder of parquet" else f"train.{kind}")
    if kind in ("jsonl", "folder of jsonl"):
        path = tmp_path / "train.jsonl"
        path.write_text(lines)
    elif kind == "jsonl.gz":
        path.write_bytes(gzip.compress(lines.encode()))
    elif kind == "json":
        path.write_text(json.dumps(rows))
    elif kind == "save_to_disk":
        datasets.DatasetDict({"train": table}).save_to_disk(path)
    else:
        table.to_parquet(path)
    loaded = prompts(tmp_path if kind.startswith("folder") else path)
    assert [(p.prompt_id, p.answer) for p in loaded.rows] == [("train:1", "0"), ("train:2", "1"), ("train:3", "2")]


def test_unreadable_sources_are_one_clear_line(tmp_path: Path):
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(gzip.compress(b'{"prompt": "x"}\n' * 1000)[:-20])
    broken = write(tmp_path / "broken.json", '[{"prompt": "x"},', "oops]")
    table = write(tmp_path / "rows.xlsx", "hello")
    not_parquet = write(tmp_path / "bad.parquet", "hello")
    for path, message in [
        (cut, "can't be read"),
        (broken, f"{broken}:2: broken JSON: Expecting value (column 1)"),
        (
            table,
            "unknown kind of file; there are .jsonl, .ndjson, .json, .csv, .tsv, .txt (also with .gz or .zst), "
            ".parquet, .arrow",
        ),
        (tmp_path / "absent.jsonl", "no such file or folder"),
        (not_parquet, "can't be read"),
    ]:
        with pytest.raises(DataError) as error:
            prompts(path)
        assert message in str(error.value)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


def test_playground_rows_and_a_setting_that_is_only_theirs(tmp_path: Path):
    loaded = load_demonstrations(DatasetConfig(path="playground:sort_digits", limit=3), TOKENIZER, 32, True, None)
    bos, user, assistant, eos = (
        TOKENIZER.convert_tokens_to_ids(f"<|{name}|>") for name in ("bos", "user", "assistant", "eos")
    )
    for row in loaded.rows:
        assert (row.token_ids[0], row.token_ids[1], row.token_ids[6], row.token_ids[11]) == (bos, user, assistant, eos)
        assert list(row.token_ids[7:11]) == sorted(row.token_ids[2:6])
        assert row.loss_mask == (0,) * 7 + (1,) * 5
    file = write(tmp_path / "rows.jsonl", {"prompt": "1"})
    with pytest.raises(ConfigError, match="wrong_fraction is for playground data sets only"):
        prompts(file, wrong_fraction=0.5)


def test_gsm8k():
    if not (REAL / "gsm8k").is_dir():
        pytest.skip("real data is not beside the repository (../shared/data/gsm8k)")
    columns = {"prompt": "question", "answer": "answer"}
    loaded = prompts(REAL / "gsm8k", fields=columns, answer_after="####", split="test", strict=True, max_tokens=2048)
    assert loaded.report.kept == 1319
    first = loaded.rows[0]
    assert "Janet’s ducks lay 16 eggs per day." in first.text
    assert (first.prompt_id, first.answer) == ("test:1", "18")
    assert TOKENIZER.decode(list(first.token_ids)) == first.text


def test_hh_rlhf_gzipped():
    file = REAL / "hh-rlhf" / "harmless-base-test.jsonl.gz"
    if not file.is_file():
        pytest.skip("real data is not beside the repository (../shared/data/hh-rlhf)")
    loaded = prompts(file, fields={"prompt": "chosen", "rejected": "rejected"}, strict=True, max_tokens=100_000)
    assert loaded.report.kept == 2312
    assert all(row.fields["rejected"].startswith("\n\nHuman:") for row in loaded.rows)


def test_a_folder_within_a_folder(tmp_path: Path):
    """As Anthropic/hh-rlhf has them, one per kind of comparison."""
    (tmp_path / "harmless-base").mkdir()
    write(tmp_path / "harmless-base" / "train.jsonl", '{"prompt": "a", "answer": "b"}')
    loaded = load_prompts(
        DatasetConfig(path=str(tmp_path), folder="harmless-base"), byte_tokenizer(), 100, strict=True, quarantine=None
    )
    assert [prompt.answer for prompt in loaded.rows] == ["b"]
