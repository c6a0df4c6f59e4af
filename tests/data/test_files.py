"""Every kind of file gives the same rows, and what is broken in one is said of its row or of the file."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rlsys.config.dataset import DatasetConfig
from rlsys.data.files import read_file
from rlsys.data.load import load_demonstrations, load_prompts
from rlsys.data.sources import looks_local, read_rows
from rlsys.errors import DataError
from rlsys.playground.models import byte_tokenizer

ROWS = [{"prompt": "Wie heißt du?", "answer": "Zoë, 名前"}, {"prompt": 'He said "hi",\nthen left', "answer": "a\tb"}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)

LIST = "[" + ",\n".join(map(json.dumps, ROWS)) + "\n]\n"


def table(delimiter: str) -> str:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, ["prompt", "answer"], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return out.getvalue()


def zst(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as file:
        file.write(content)
    return sink.getvalue().to_pybytes()


def parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), sink)
    return sink.getvalue()


def arrow(kind: Callable[..., Any]) -> bytes:
    sink = io.BytesIO()
    whole = pa.Table.from_pylist(ROWS)
    with kind(sink, whole.schema) as writer:
        writer.write_table(whole, max_chunksize=1)
    return sink.getvalue()


FILES = {
    "rows.jsonl": LINES.encode(),
    "ROWS.JSONL": LINES.encode(),
    "rows.ndjson": LINES.encode("utf-8-sig"),
    "rows.jsonl.gz": gzip.compress(LINES.encode()),
    "rows.JSONL.ZST": zst(LINES.encode()),
    "utf-16.jsonl": LINES.encode("utf-16"),
    "big-endian.jsonl.gz": gzip.compress(b"\xfe\xff" + LINES.encode("utf-16-be")),
    "rows.json": json.dumps(ROWS).encode(),
    "utf-16.json": json.dumps(ROWS, ensure_ascii=False).encode("utf-16"),
    "lines-of.json": LINES.encode(),
    "one-after-the-other.json": "\n".join(json.dumps(row, indent=2) for row in ROWS).encode(),
    "utf-16-one-after-the-other.json": ("\n\n".join(json.dumps(row, indent=2) for row in ROWS) + "\n").encode("utf-16"),
    "list.jsonl": json.dumps(ROWS).encode(),
    "list-over-lines.jsonl": ("\n" + LIST).encode("utf-8-sig"),
    "utf-16-list.jsonl.gz": gzip.compress(LIST.encode("utf-16")),
    "rows.json.zst": zst(json.dumps(ROWS).encode()),
    "rows.csv": table(",").encode(),
    "excel.csv": table(",").encode("utf-8-sig"),
    "rows.tsv": table("\t").encode(),
    "utf-16.tsv": table("\t").encode("utf-16"),
    "rows.csv.gz": gzip.compress(table(",").encode()),
    "rows.csv.zst": zst(table(",").encode()),
    "rows.parquet": parquet(),
    "file.arrow": arrow(pa.ipc.new_file),
    "stream.arrow": arrow(pa.ipc.new_stream),
}


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(FILES[name])
    rows = [*read_file(tmp_path / name)]
    assert [row.value for row in rows] == ROWS
    assert [row.problem for row in rows] == [None, None]
    assert looks_local(name)


@pytest.mark.parametrize("first", [b"[1]", b"[oops", b"[}", b"[\xff]"])
def test_a_broken_first_line_is_one_row(tmp_path: Path, first: bytes):
    """And makes no list of the file."""
    (tmp_path / "rows.jsonl").write_bytes(first + b"\n" + LINES.encode())
    loaded = load_prompts(DatasetConfig(path=str(tmp_path / "rows.jsonl")), byte_tokenizer(), 100, False, None)
    assert ([row.prompt_id for row in loaded.rows], loaded.report.quarantined) == (["train:2", "train:3"], 1)


def test_text_may_be_compressed_and_in_utf_16(tmp_path: Path):
    for name, content in {
        "a.txt": "é\n".encode(),
        "b.TXT": "é\n".encode("utf-16"),
        "c.txt.gz": gzip.compress("é\n".encode()),
    }.items():
        (tmp_path / name).write_bytes(content)
        assert [row.value for row in read_file(tmp_path / name)] == [{"text": "é\n"}]


def test_broken_rows_of_a_table_are_told_apart_from_good_ones(tmp_path: Path):
    content = b'prompt,answer\none,1\ntwo\nthree,3,4\n\nfour,"x"y\nfive,\xff\nsix,  \nseven,"7'
    (tmp_path / "rows.csv").write_bytes(content)
    rows = [*read_file(tmp_path / "rows.csv")]
    assert [(row.number, row.value) for row in rows if row.problem is None] == [
        (1, {"prompt": "one", "answer": "1"}),
        (6, {"prompt": "six", "answer": None}),  # a blank cell is missing
    ]
    assert {row.number: row.problem for row in rows if row.problem} == {
        2: "1 cells, and the header has 2",
        3: "3 cells, and the header has 2",
        4: "broken CSV: ',' expected after '\"' (line 6)",
        5: "bytes that the file's encoding does not have",
        7: "broken CSV: unexpected end of data (line 9)",
    }


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.csv"])
def test_half_a_character_in_utf_16_costs_its_row(tmp_path: Path, name: str):
    """A lone surrogate unit, as of an emoji that was cut by a program that counts in UTF-16."""
    lines = ["prompt", '"a\ud83d"', "b"] if name == "rows.csv" else ['{"prompt": "a\ud83d"}', '{"prompt": "b"}']
    text = f"[{','.join(lines)}]" if name == "rows.json" else "\n".join(lines)
    (tmp_path / name).write_bytes(b"\xff\xfe" + text.encode("utf-16-le", "surrogatepass"))
    loaded = load_prompts(DatasetConfig(path=str(tmp_path / name)), byte_tokenizer(), 100, False, tmp_path / "aside")
    assert [(row.prompt_id, row.turns) for row in loaded.rows] == [("train:2", "b")]
    assert loaded.report.reason in (
        "the column 'prompt' has half a character (\\ud83d)",
        "bytes that the file's encoding does not have",
    )


CALLS = [
    {
        "messages": [{"role": "user", "content": name, "calls": [{"name": name, "arguments": given}]}],
        "meta": {"a": None},
    }
    for name, given in (("weather", {"city": "Oslo"}), ("time", {"zone": "CET", "at": [None, {"h": 1}]}))
]


@pytest.mark.parametrize("kind", ["parquet", "file.arrow", "stream.arrow", "datasets"])
def test_objects_of_a_typed_file_lack_the_keys_of_others(tmp_path: Path, kind: str):
    """These files fill a list's objects up with nulls, so that all have the same keys; what is a null of its own, in a
    list or a column, stays."""
    path, table = tmp_path / f"rows.{kind}", pa.Table.from_pylist(CALLS)
    if kind == "parquet":
        pq.write_table(table, path)
    elif kind == "datasets":
        import datasets

        datasets.Dataset(table).save_to_disk(str(path))
    else:
        with (pa.ipc.new_file if kind == "file.arrow" else pa.ipc.new_stream)(str(path), table.schema) as writer:
            writer.write_table(table)
    assert [row.value for row in read_rows(DatasetConfig(path=str(path)))] == CALLS


def test_a_cell_may_be_long(tmp_path: Path):
    (tmp_path / "rows.csv").write_text("prompt\n" + "x" * 200_000 + "\n")  # the csv module stops at 131,072 by itself
    (row,) = read_file(tmp_path / "rows.csv")
    assert len(row.value["prompt"]) == 200_000


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("cut.jsonl.gz", gzip.compress(LINES.encode() * 500)[:-30], "can't be read after row"),
        ("cut.jsonl.zst", zst(LINES.encode() * 500)[:-10], "can't be read"),
        ("not.jsonl.gz", b"{}", "can't be read: Not a gzipped file"),
        ("not.csv.zst", b"prompt\n", "can't be read: ZSTD decompress failed"),
        ("odd.jsonl", LINES.encode("utf-16")[:-1], "can't be read after row 1"),
        ("twice.csv", b"prompt,prompt\na,b\n", "the header names the column 'prompt' twice"),
        ("object.json", b'{"rows": []}', "a JSON data file holds a list of objects, this one a dict"),
        ("bytes.json", b'["\xff"]', "not UTF-8"),
        ("cut.json", b'{\n"prompt": "a"}\n{\n"prompt"}', "cut.json:4: broken JSON: Expecting ':' delimiter (column 9)"),
        ("cut-list.jsonl", b'[{"prompt": "a"},\n{"prompt"}]', "broken JSON: Expecting ':' delimiter (column 10)"),
        ("not.parquet", b"PAR1", "can't be read"),
        ("not.arrow", b"rows", "can't be read"),
        ("rows.xlsx", b"", "unknown kind of file; there are .jsonl"),
    ],
)
def test_a_file_that_can_not_be_read_is_one_line(tmp_path: Path, name: str, content: bytes, message: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as error:
        list(read_file(tmp_path / name))
    assert str(error.value).startswith(f"{tmp_path / name}:")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_lists_in_a_table_are_json(tmp_path: Path):
    turns = json.dumps([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}])
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["messages", "id"], [turns, "1"], ['[{"role":', "2"]])
    loaded = load_demonstrations(DatasetConfig(path=str(tmp_path / "rows.csv")), byte_tokenizer(), 100, False, None)
    assert byte_tokenizer().decode(list(loaded.rows[0].token_ids)) == "<|bos|><|user|>q<|assistant|>a<|eos|>"
    assert loaded.report.reason.startswith("the column 'messages' looks like messages, and is broken JSON")


def test_a_folder_takes_the_file_of_its_split_and_no_guess(tmp_path: Path):
    (tmp_path / "Train.jsonl").write_text("{}")
    (tmp_path / "train.CSV").write_bytes(FILES["rows.csv"])
    loaded = load_prompts(DatasetConfig(path=str(tmp_path)), byte_tokenizer(), 100, True, None)
    assert [row.answer for row in loaded.rows] == [row["answer"] for row in ROWS]
    (tmp_path / "train.jsonl.gz").write_bytes(FILES["rows.jsonl.gz"])
    with pytest.raises(
        DataError, match=r"split train is in train\.CSV and in train\.jsonl\.gz; give the path of the file"
    ):
        load_prompts(DatasetConfig(path=str(tmp_path)), byte_tokenizer(), 100, True, None)
