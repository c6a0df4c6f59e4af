"""Messages in a text are messages, what `ignore` names is left out and nothing else, and columns that say more than can
be shown put their row aside."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from rlsys.config.dataset import DatasetConfig
from rlsys.data.labelled import load_labelled
from rlsys.data.load import load_comparisons, load_demonstrations, load_prompts, load_texts
from rlsys.errors import ConfigError, DataError
from rlsys.playground.models import byte_tokenizer

LOADERS = {
    "prompts": load_prompts,
    "demonstrations": load_demonstrations,
    "comparisons": load_comparisons,
    "labelled": load_labelled,
}
Q, A, B, Q2 = (
    {"role": role, "content": text}
    for role, text in (("user", "q"), ("assistant", "a"), ("assistant", "b"), ("user", "r"))
)
SHARED = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]


def texts(path: Path, kind: str, *rows: Any, **settings: Any) -> list[str]:
    """What each answer's tokens say; of prompts, theirs and the ground truth."""
    if path.is_dir():
        path = path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = LOADERS[kind](DatasetConfig(path=str(path), **settings), byte_tokenizer(), 1000, True, None).rows
    if kind == "prompts":
        return [f"{row.text} {row.answer}" for row in made]
    answers = {"comparisons": lambda row: [*row.answers], "labelled": lambda row: [row.answer]}
    found = [answer for row in made for answer in answers.get(kind, lambda row: [row])(row)]
    return [str(byte_tokenizer().decode(list(answer.token_ids))) for answer in found]


def said(answer: str) -> str:
    return f"<|bos|><|user|>q<|assistant|>{answer}<|eos|>"


IN_TEXT: list[tuple[str, dict[str, Any], list[str]]] = [
    ("prompts", {"prompt": [Q], "answer": "4"}, ["<|bos|><|user|>q<|assistant|> 4"]),
    ("demonstrations", {"messages": [Q, A]}, [said("a")]),
    ("demonstrations", {"conversations": SHARED}, [said("a")]),
    ("demonstrations", {"prompt": [Q], "answer": [A]}, [said("a")]),
    ("demonstrations", {"prompt": [Q], "completion": [A]}, [said("a")]),
    ("demonstrations", {"prompt": "q", "completion": A}, [said("a")]),
    ("demonstrations", {"prompt": "q", "completion": [Q, A]}, [said("a")]),
    ("comparisons", {"prompt": [Q], "chosen": [A], "rejected": [B]}, [said("a"), said("b")]),
    ("comparisons", {"chosen": [Q, A], "rejected": [Q, B]}, [said("a"), said("b")]),
    ("labelled", {"prompt": [Q], "completion": [A], "label": "1"}, [said("a")]),
]


@pytest.mark.parametrize(("kind", "row", "wanted"), IN_TEXT, ids=lambda value: str(value)[:50])
def test_messages_in_a_cell_are_messages(tmp_path: Path, kind: str, row: dict[str, Any], wanted: list[str]):
    """In a table, and in the JSON that tables are made into."""
    cells = {column: item if isinstance(item, str) else json.dumps(item) for column, item in row.items()}
    assert texts(tmp_path, kind, cells) == wanted == texts(tmp_path, kind, row)
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([cells.keys(), cells.values()])
    assert texts(tmp_path / "rows.csv", kind) == wanted


@pytest.mark.parametrize(
    "answer",
    ['[{"name": "f", "arguments": {}}]', '{"from": "USD", "value": 3}', '{"a": 1}', "[{x}]", "[", '["a"]', "{"],
)
def test_other_json_is_the_text_that_it_is(tmp_path: Path, answer: str):
    assert texts(tmp_path, "demonstrations", {"prompt": "q", "answer": answer}) == [said(answer)]
    assert texts(tmp_path, "comparisons", {"prompt": "q", "chosen": answer, "rejected": "b"}) == [
        said(answer),
        said("b"),
    ]


@pytest.mark.parametrize(
    ("kind", "row", "column"),
    [
        ("prompts", {"prompt": str([Q]), "answer": "4"}, "prompt"),
        ("demonstrations", {"messages": str([Q, A])}, "messages"),
        ("demonstrations", {"prompt": "q", "completion": str([A])}, "completion"),
        ("demonstrations", {"prompt": "q", "answer": str(SHARED)}, "answer"),
        ("comparisons", {"prompt": "q", "chosen": "a", "rejected": json.dumps([B])[:-1]}, "rejected"),
        ("labelled", {"prompt": "q", "completion": str(A), "label": True}, "completion"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_messages_that_can_not_be_read_are_no_text(tmp_path: Path, kind: str, row: dict[str, Any], column: str):
    """As pandas writes lists into a table: as Python shows them."""
    with pytest.raises(DataError, match=rf":1: the column '{column}' looks like messages, and is broken JSON: "):
        texts(tmp_path, kind, row)


def test_a_column_of_a_prompt_format_stays_text(tmp_path: Path):
    cell = json.dumps([Q])
    assert texts(tmp_path, "prompts", {"prompt": cell}, prompt_format="{prompt}?") == [
        f"<|bos|><|user|>{cell}?<|assistant|> None"
    ]


NAMED = {**Q, "name": "Ada"}


def test_a_key_of_messages_is_ignored_in_all_of_them_and_no_column(tmp_path: Path):
    for column in ("messages", "chat"):
        row = {column: [NAMED, {**A, "name": "HAL"}], "name": "x"}
        mapped = {"fields": {"messages": "chat"}} if column == "chat" else {}
        with pytest.raises(DataError, match="does not show its 'name'"):
            texts(tmp_path, "demonstrations", row, **mapped)
        assert texts(tmp_path, "demonstrations", row, ignore=(f"{column}.name",), **mapped) == [said("a")]
    pair = {"prompt": [NAMED], "chosen": json.dumps([A]), "rejected": json.dumps([{**B, "name": "x"}])}
    assert texts(tmp_path, "comparisons", pair, ignore=("prompt.name",)) == [said("a"), said("b")]


def test_an_ignored_weight_is_as_if_it_were_not_there(tmp_path: Path):
    """Those of a prompt are not trained for it."""
    dialogue = [Q, {**A, "weight": 0}, Q2, B]
    path = tmp_path / "rows.jsonl"

    def trained(row: dict[str, Any], **settings: Any) -> str:
        path.write_text(json.dumps(row))
        (made,) = load_demonstrations(DatasetConfig(path=str(path), **settings), byte_tokenizer(), 100, True, None).rows
        return "".join(
            chr(token) for token, bit in zip(made.token_ids, made.loss_mask, strict=True) if bit and token < 256
        )

    assert trained({"messages": dialogue}) == "b"
    assert trained({"messages": dialogue}, ignore=("messages.weight",)) == "ab"
    assert trained({"prompt": dialogue[:3], "completion": [B]}, ignore=("messages.weight",)) == "b"


def test_a_column_within_a_column_is_ignored(tmp_path: Path):
    row = {"prompt": "q", "meta": {"name": "x\ud83d", "id": {"a": 1, "b": 2}}, "messages": [NAMED, A]}
    with pytest.raises(DataError, match="the column 'meta' has half a character"):
        texts(tmp_path, "prompts", row)
    assert texts(tmp_path, "prompts", row, ignore=("meta.name",)) == ["<|bos|><|user|>q<|assistant|> None"]
    with pytest.raises(DataError, match=r"does not show its 'name'"):  # the messages' own name stays
        texts(tmp_path, "demonstrations", row, ignore=("meta.name", "prompt"))
    path = tmp_path / "rows.jsonl"
    config = DatasetConfig(path=str(path), ignore=("meta.name", "meta.id.b"), fields={"meta": "meta"})
    (prompt,) = load_prompts(config, byte_tokenizer(), 100, True, None).rows
    assert prompt.fields == {"meta": '{"id": {"a": 1}}'}


@pytest.mark.parametrize(
    "name", ["messages.content", "messages.role", "conversations.from", "chosen.value", "chat.role"]
)
def test_what_every_message_needs_can_not_be_ignored(tmp_path: Path, name: str):
    with pytest.raises(ConfigError, match=f"ignore names '{name}', and nothing is left of a message without it"):
        texts(tmp_path, "demonstrations", {"chat": [Q, A]}, ignore=(name,), fields={"messages": "chat"})


def test_an_ignored_column_that_is_nowhere_is_a_mistake(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"ignore names the column 'meta\.zzz', which no row has; leave it out"):
        texts(tmp_path, "prompts", {"prompt": "q", "meta": {"a": 1}}, ignore=("meta.zzz",))


@pytest.mark.parametrize(
    ("column", "item"),
    [
        ("history", [["x", "y"]]),
        ("history", '[["x", "y"]]'),
        ("images", ["a.png"]),
        ("image", {"path": "a.png"}),
        ("chat_template_kwargs", {"enable_thinking": False}),
    ],
)
def test_a_column_that_says_more_puts_its_row_aside(tmp_path: Path, column: str, item: Any):
    rows: dict[str, dict[str, Any]] = {
        "prompts": {"prompt": "q", "answer": "4"},
        "demonstrations": {"instruction": "q", "output": "a"},
        "comparisons": {"prompt": "q", "chosen": "a", "rejected": "b"},
        "labelled": {"prompt": "q", "completion": "a", "label": True},
    }
    mapped = {"demonstrations": {"fields": {"prompt": "instruction", "answer": "output"}}}
    for kind, row in rows.items():
        for settings in ({}, mapped.get(kind, {})):
            with pytest.raises(DataError, match=rf":1: the column '{column}' has .* \[{column}\] leaves them out"):
                texts(tmp_path, kind, {**row, column: item}, **settings)
            assert texts(tmp_path, kind, {**row, column: item}, ignore=(column,), **settings)
    assert texts(tmp_path, "prompts", {"prompt": "q", "answer": "4", column: item}, fields={"more": column})
    for nothing in (None, [], "", "medieval", False, 1.5, "[]"):
        assert texts(tmp_path, "demonstrations", {"prompt": "q", "answer": "a", column: nothing}) == [said("a")]


def test_raw_text_has_no_messages(tmp_path: Path):
    (tmp_path / "rows.jsonl").write_text(json.dumps({"text": json.dumps([Q]), "images": ["a.png"]}))
    (block,) = load_texts(DatasetConfig(path=str(tmp_path / "rows.jsonl")), byte_tokenizer(), 100, True, None).rows
    assert byte_tokenizer().decode(list(block.token_ids)) == f"<|bos|>{json.dumps([Q])}<|eos|>"
