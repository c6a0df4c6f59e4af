import json
from pathlib import Path

import pytest

from rlsys.config.dataset import DatasetConfig
from rlsys.data.load import load_demonstrations, load_prompts
from rlsys.errors import ConfigError
from rlsys.files import read_lines
from rlsys.playground.models import byte_tokenizer


def test_prompts_made_from_columns(tmp_path: Path):
    rows = [
        {"instruction": "Add.", "input": "1 {2}", "output": "3"},
        {"instruction": "Say hi.", "input": "", "output": "hi"},
        {"instruction": "Say ho.", "input": None, "output": "ho"},
        {"instruction": "Say he.", "output": "he"},
        {"instruction": " ", "input": "", "output": "?"},
        {"instruction": 7, "input": ["a"], "output": "x"},
    ]
    file, aside = tmp_path / "rows.jsonl", tmp_path / "aside.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = DatasetConfig(
        path=str(file), prompt_format="{instruction}\n\n{input}", fields={"answer": "output"}, chat_template="never"
    )
    found = load_prompts(config, byte_tokenizer(), 100, False, aside).rows
    assert [(row.text, row.answer) for row in found] == [
        ("Add.\n\n1 {2}", "3"),
        ("Say hi.", "hi"),
        ("Say ho.", "ho"),
        ('7\n\n["a"]', "x"),
    ]
    assert [json.loads(line)["reason"] for line in read_lines(aside)] == [
        "no column 'input' (there are: 'instruction', 'output'), and data.*.prompt_format asks for it",
        "the prompt is empty",
    ]
    spaced = config.model_copy(update={"prompt_format": "{{{instruction}}} {input}: "})
    loaded = load_prompts(spaced, byte_tokenizer(), 100, False, None)
    assert loaded.rows[1].text == "{Say hi.} : "
    assert loaded.report.reason == "column 'input' is null, and prompt_format needs it"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompt_format": "{a}", "fields": {"messages": "m"}}, "fields can't map messages too"),
        ({"prompt_format": "no column"}, "must name columns"),
        ({"prompt_format": "{}"}, "must name columns"),
        ({"prompt_format": "{a:>3}"}, "must name columns"),
        ({"prompt_format": "}"}, "can't be read: Single '}' encountered"),
    ],
)
def test_formats_that_can_not_be_meant(tmp_path: Path, settings: dict, message: str):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"a": "x", "m": []}\n')
    with pytest.raises(ConfigError, match=message):
        load_prompts(DatasetConfig(path=str(file), **settings), byte_tokenizer(), 100, False, None)


def test_messages_may_be_a_dialogue_in_one_text(tmp_path: Path):
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"chosen": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d"}) + "\n")
    config, tokenizer = DatasetConfig(path=str(file), fields={"messages": "chosen"}), byte_tokenizer()
    (prompt,) = load_prompts(config, tokenizer, 100, True, None).rows
    assert prompt.text == "<|bos|><|user|>a<|assistant|>b<|eos|><|user|>c<|assistant|>"
    (row,) = load_demonstrations(config, tokenizer, 100, True, None).rows
    assert (
        tokenizer.decode([token for token, bit in zip(row.token_ids, row.loss_mask, strict=True) if bit])
        == "b<|eos|>d<|eos|>"
    )


def test_a_prompt_may_be_messages_with_an_answer_of_its_own(tmp_path: Path):
    """As data sets made from dialogues have it."""
    path = tmp_path / "rows.jsonl"
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "Help"},
    ]
    path.write_text(json.dumps({"prompt": turns, "answer": "Gladly"}) + "\n")
    tokenizer = byte_tokenizer()
    (row,) = load_demonstrations(DatasetConfig(path=str(path)), tokenizer, 100, strict=True, quarantine=None).rows
    trained = [token for token, mask in zip(row.token_ids, row.loss_mask, strict=True) if mask]
    assert str(tokenizer.decode([*row.token_ids])).endswith("<|user|>Help<|assistant|>Gladly<|eos|>")
    assert tokenizer.decode(trained) == "Gladly<|eos|>", "earlier turns of the assistant are part of the prompt"
