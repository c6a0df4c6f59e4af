import json
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from rlsys.config.dataset import DatasetConfig
from rlsys.data.load import load_texts
from rlsys.errors import ConfigError, DataError
from rlsys.files import read_lines
from rlsys.playground.models import byte_tokenizer


def texts(
    path: Path, block_tokens: int, tokenizer: PreTrainedTokenizerFast | None = None, strict: bool = False, **settings
):
    return load_texts(
        DatasetConfig(path=str(path), **settings),
        tokenizer or byte_tokenizer(),
        block_tokens,
        strict,
        path.with_name("aside.jsonl"),
    )


def shown(blocks) -> list[str]:
    """Each block's text, special tokens as one character."""
    tokenizer = byte_tokenizer()
    return [
        str(tokenizer.decode(list(block.token_ids))).replace("<|bos|>", "^").replace("<|eos|>", "$") for block in blocks
    ]


def test_documents_are_ended_and_cut_into_blocks_that_begin_with_bos(tmp_path: Path):
    file = tmp_path / "corpus.jsonl"
    file.write_text(
        "".join(
            json.dumps(row) + "\n"
            for row in [{"body": "abcde"}, {"body": " "}, {"body": "fg"}, {"body": 3}, {"body": "h"}]
        )
    )
    loaded = texts(file, 4, fields={"text": "body"})
    assert shown(loaded.rows) == ["^abc", "^de$", "^fg$", "^h$"]
    assert [block.loss_mask for block in loaded.rows] == [(0, 1, 1, 1)] * 3 + [(0, 1, 1)]
    assert [block.row_id for block in loaded.rows] == [
        "train:block-1",
        "train:block-2",
        "train:block-3",
        "train:block-4",
    ]
    counts = {"read": 5, "kept": 3, "too_long": 0, "quarantined": 2, "blocks": 4, "rough_cuts": 0}
    assert loaded.report.counts() == {
        "source": str(file),
        "split": "train",
        "format": "text",
        "unanswered": 0,
        **counts,
    }
    aside = [json.loads(line) for line in read_lines(tmp_path / "aside.jsonl")]
    assert [(entry["row"], entry["reason"]) for entry in aside] == [
        (2, "the text is empty"),
        (4, "the text is a number, not text"),
    ]
    with pytest.raises(DataError, match=r"corpus\.jsonl:2: the text is empty"):
        texts(file, 4, strict=True, fields={"text": "body"})


def test_without_bos_a_block_goes_on_where_the_last_one_ended(tmp_path: Path):
    (tmp_path / "a.txt").write_text("abcde\n\nfgh")
    tokenizer = byte_tokenizer()
    tokenizer.bos_token = None
    assert shown(texts(tmp_path / "a.txt", 4, tokenizer).rows) == ["abcd", "e\n\nf", "gh$"]
    assert shown(texts(tmp_path / "a.txt", 5, tokenizer).rows) == [
        "abcde",
        "\n\nfgh",
    ]  # the EOS alone would have nothing to train


def test_a_folder_of_text_files_has_a_document_in_each(tmp_path: Path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name, content in {"b.txt": b"two", "a.txt": b"one", "c.txt": b"\xff"}.items():
        (folder / name).write_bytes(content)
    loaded = texts(folder, 100)
    assert shown(loaded.rows) == ["^one$two$"]
    assert (loaded.report.read, loaded.report.kept, loaded.report.quarantined) == (3, 2, 1)
    assert "not UTF-8: invalid start byte at byte 0" in (tmp_path / "aside.jsonl").read_text()
    with pytest.raises(DataError, match=r"no split 'test': a folder of \.txt files is one split, train"):
        texts(folder, 100, split="test")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompt_format": "{text}"}, "prompt_format has no effect on raw text"),
        ({"system_prompt": "s"}, "system_prompt has no effect on raw text"),
        ({"fields": {"prompt": "p"}}, "fields.prompt has no effect on raw text"),
        ({"block_tokens": 1}, "blocks of 1 token have nothing to train"),
    ],
)
def test_settings_that_mean_nothing_here(tmp_path: Path, settings: dict, message: str):
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(ConfigError, match=message):
        texts(tmp_path / "a.txt", **{"block_tokens": 4, **settings})


def test_documents_that_bring_their_own_bos_or_eos_have_it_once(tmp_path: Path):
    file = tmp_path / "corpus.jsonl"
    file.write_text(
        "".join(
            json.dumps({"text": text}) + "\n" for text in ("<|bos|>ab<|eos|>\n", "c", "<|eos|>\n<|eos|>", "<|bos|>d")
        )
    )
    assert shown(texts(file, 20).rows) == ["^ab$c$^d$"]
    assert shown(texts(file, 5).rows) == ["^ab$", "^c$^d", "^$"]
