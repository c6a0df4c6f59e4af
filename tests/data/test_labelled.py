import json
from pathlib import Path
from typing import Any

import pytest

from rlsys.config.dataset import DatasetConfig
from rlsys.data.labelled import Labelled, check_labels, load_labelled
from rlsys.data.report import Loaded
from rlsys.errors import ConfigError, DataError
from rlsys.files import read_lines
from rlsys.playground.models import byte_tokenizer

USER, BOT = ({"role": "user", "content": "q"}, {"role": "assistant", "content": "good"})


def load(path: Path, *rows: Any, strict: bool = True, most: int = 100, **settings: Any) -> Loaded[Labelled]:
    file = path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_labelled(
        DatasetConfig(path=str(file), **settings), byte_tokenizer(), most, strict, path / "aside.jsonl"
    )


def shown(loaded: Loaded[Labelled]) -> list[tuple[str, str, bool]]:
    """Each answer's row, its text with what is trained in brackets, and its label."""
    tokenizer, found = byte_tokenizer(), []
    for row in loaded.rows:
        start, ids = row.prompt_tokens, list(row.answer.token_ids)
        assert row.answer.loss_mask == (0,) * start + (1,) * (len(ids) - start)
        found.append((row.row_id, f"{tokenizer.decode(ids[:start])}[{tokenizer.decode(ids[start:])}]", row.desirable))
    return found


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "completion": "good", "label": True},
        {"prompt": [USER], "completion": [BOT], "label": True},
        {"prompt": "q", "completion": [USER, BOT], "label": True},
        {"messages": [USER, BOT], "label": True},
        {"messages": [USER], "completion": "good", "label": True},
    ],
)
def test_the_standard_columns(tmp_path: Path, row: dict[str, Any]):
    assert shown(load(tmp_path, row)) == [("train:1", "<|bos|><|user|>q<|assistant|>[good<|eos|>]", True)]


def test_columns_of_other_names(tmp_path: Path):
    row = {"question": "q", "text": "bad", "ok": False}
    loaded = load(tmp_path, row, fields={"prompt": "question", "completion": "text", "label": "ok"})
    assert shown(loaded) == [("train:1", "<|bos|><|user|>q<|assistant|>[bad<|eos|>]", False)]
    with pytest.raises(ConfigError, match="labelled answers don't have"):
        load(tmp_path, row, fields={"prompt": "question", "completion": "text", "label": "ok", "letters": "text"})


def test_pairs_give_two_answers_each(tmp_path: Path):
    loaded = load(
        tmp_path,
        {"prompt": "q", "chosen": "good", "rejected": "bad"},
        {"prompt": "p", "answers": ["worse", "better"], "grades": [1, 2]},
    )
    before = "<|bos|><|user|>{}<|assistant|>[{}<|eos|>]"
    assert shown(loaded) == [
        ("train:1", before.format("q", "good"), True),
        ("train:1", before.format("q", "bad"), False),
        ("train:2", before.format("p", "worse"), False),
        ("train:2", before.format("p", "better"), True),
    ]
    assert (loaded.report.read, loaded.report.kept) == (2, 2)


BAD = [
    ({"prompt": "q", "completion": " ", "label": True}, "the completion is empty"),
    ({"prompt": "q", "completion": None, "label": True}, "the completion is null, not text"),
    ({"prompt": "q", "completion": "a", "label": 2}, "the label is 2, not true or false"),
    ({"prompt": "q", "completion": "a", "label": None}, "the label is null, not true or false"),
    (
        {"prompt": "q", "completion": "a"},
        "no column 'label' (there are: 'prompt', 'completion'); data.*.fields says which column is what",
    ),
    (
        {"completion": "a", "label": True},
        "no column 'prompt' or 'messages' (there are: 'completion', 'label'); data.*.fields says which column is what",
    ),
    (
        {"prompt": "q", "label": True},
        "no column 'completion', and no messages that end in an answer (there are: 'prompt', 'label')",
    ),
    ({"prompt": "q", "chosen": "a", "rejected": "a"}, "chosen and rejected are equal"),
    (
        {"prompt": "q", "chosen": "a", "rejected": "b", "preference": 0.8},
        "a soft label (preference) calls neither answer good",
    ),
    ({"prompt": "q", "answers": ["a", "b", "c"]}, "a ranking of more than two answers does not say which are good"),
    ([1], "a row is an object with columns, this is a list"),
]


def test_bad_rows_are_put_aside_with_their_reason(tmp_path: Path):
    good = {"prompt": "q", "completion": "a", "label": True}
    long = {"prompt": "q", "completion": "a" * 200, "label": True}
    loaded = load(tmp_path, good, *(row for row, _ in BAD), long, strict=False)
    assert loaded.report.counts() | {"source": ""} == {
        "source": "",
        "split": "train",
        "format": "labelled",
        "unanswered": 0,
        "read": len(BAD) + 2,
        "kept": 1,
        "too_long": 1,
        "quarantined": len(BAD),
    }
    entries = [json.loads(line) for line in read_lines(tmp_path / "aside.jsonl")]
    assert [entry["row"] for entry in entries] == list(range(2, len(BAD) + 2))
    for entry, (_, reason) in zip(entries, BAD, strict=True):
        assert entry["reason"].startswith(reason)


def test_labels_of_one_kind_are_refused(tmp_path: Path):
    rows = [{"prompt": f"q{n}", "completion": "a", "label": True} for n in range(3)]
    with pytest.raises(DataError) as error:
        check_labels("rows.jsonl", load(tmp_path, *rows).rows)
    assert str(error.value) == (
        "rows.jsonl: all 3 answers are labelled desirable; add undesirable ones (data.also takes another file), or "
        "imitate them by stage sft"
    )
    with pytest.raises(
        DataError, match=r"all 3 answers are labelled undesirable; add desirable ones \(data.also takes another file\)$"
    ):
        check_labels("rows.jsonl", load(tmp_path, *({**row, "label": False} for row in rows)).rows)
    check_labels("rows.jsonl", load(tmp_path, *rows, {"prompt": "q", "completion": "b", "label": False}).rows)
