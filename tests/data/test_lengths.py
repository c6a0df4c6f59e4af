"""Rows that are far too long are left out before they are tokenised whole, and no row is that may be short enough."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from rlsys.config.dataset import DatasetConfig
from rlsys.data.labelled import load_labelled
from rlsys.data.lengths import TooLong, check_length
from rlsys.data.load import load_comparisons, load_demonstrations, load_prompts, load_texts
from rlsys.data.pieces import tokens_of
from rlsys.playground.models import byte_tokenizer

LONG = "x" * 20_000_000


class Watched(PreTrainedTokenizerFast):
    """Remembers the longest text that it was given at once."""

    longest = 0

    def __call__(self, text: Any, **options: Any) -> Any:  # type: ignore[override]
        type(self).longest = max(self.longest, len(text))
        return super().__call__(text, **options)


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    plain = byte_tokenizer()
    watched = Watched(
        tokenizer_object=plain.backend_tokenizer,
        bos_token=plain.bos_token,
        eos_token=plain.eos_token,
        pad_token=plain.pad_token,
    )
    watched.chat_template = plain.chat_template
    Watched.longest = 0
    return watched


@pytest.mark.parametrize("template", ["auto", "never"])
@pytest.mark.parametrize(
    ("load", "row"),
    [
        (load_prompts, {"prompt": LONG}),
        (load_demonstrations, {"prompt": "q", "answer": LONG}),
        (load_comparisons, {"prompt": "q", "chosen": LONG, "rejected": "b"}),
        (load_labelled, {"prompt": LONG, "completion": "a", "label": True}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_long_line_is_counted_and_never_tokenised_whole(
    tmp_path: Path, tokenizer: Any, template: Any, load: Any, row: dict[str, Any]
):
    short = {key: "short" if value == LONG else value for key, value in row.items()}
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(one) + "\n" for one in (row, short)))
    report = load(
        DatasetConfig(path=str(tmp_path / "rows.jsonl"), chat_template=template), tokenizer, 100, True, None
    ).report
    assert (report.read, report.kept, report.too_long, report.reason) == (2, 1, 1, "longer than 100 tokens")
    assert Watched.longest < 20_000


def words() -> PreTrainedTokenizerFast:
    """Any number of spaces takes no token."""
    tokenizer = Tokenizer(models.WordLevel({"x": 0, "[UNK]": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="[UNK]")


@pytest.mark.parametrize(
    ("tokenizer", "text", "most", "refused"),
    [
        (words(), "x" + " " * 1_000_000 + "x", 2, False),
        (words(), " " * 100_000 + "x " * 200_000, 1000, True),
        (byte_tokenizer(), "x" * 10_001, 10_001, False),
        (
            byte_tokenizer(),
            "x" * 25_000,
            10_000,
            False,
        ),  # longer, but its beginning does not tell: it is counted afterwards
        (byte_tokenizer(), "x" * 200_000, 10_000, True),
    ],
)
def test_only_what_is_certainly_longer_is_refused(
    tokenizer: PreTrainedTokenizerFast, text: str, most: int, refused: bool
):
    if refused:
        with pytest.raises(TooLong):
            check_length(tokenizer, text, most)
    else:
        check_length(tokenizer, text, most)
        check_length(tokenizer, text, None)


def merging() -> PreTrainedTokenizerFast:
    """Byte-level BPE that splits texts as GPT-2 does and knows runs of line breaks: these must not be cut apart."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*alphabet, "ĊĊ", "ĊĊĊĊ", "ab", "[EOS]"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("Ċ", "Ċ"), ("ĊĊ", "ĊĊ"), ("a", "b")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="[EOS]")


def spaced(pre_tokenizer: Any = None, normalizer: Any = None) -> PreTrainedTokenizerFast:
    """Puts a space (`▁`) before every text, as Llama 2 and Mistral do, and has tokens of several letters."""
    merges = [("▁", "a"), ("a", "b"), ("▁a", "b"), ("b", "▁")]
    letters = ["[EOS]", "[UNK]", "▁", "\n", "a", "b", "x", *(left + right for left, right in merges)]
    tokenizer = Tokenizer(models.BPE({token: n for n, token in enumerate(letters)}, merges, unk_token="[UNK]"))
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="[EOS]", unk_token="[UNK]")


METASPACE = spaced(pre_tokenizers.Metaspace(prepend_scheme="always", split=False))
PREPENDED = spaced(normalizer=normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]))


@pytest.mark.parametrize("tokenizer", [merging(), METASPACE, PREPENDED], ids=["bytes", "Metaspace", "Prepend"])
@pytest.mark.parametrize(
    "text",
    ["ab\n" * 1000, ("ab" * 50 + "\n\n\n\n") * 40, "\n" * 3000, "ab" * 1500, "ab\n" * 600, "x ab " * 1000, "x" * 3000],
    ids=["lines", "paragraphs", "no text", "no lines", "short", "words", "one letter"],
)
def test_a_long_document_has_the_tokens_of_the_whole(monkeypatch: pytest.MonkeyPatch, tokenizer: Any, text: str):
    whole = tokenizer(text, add_special_tokens=False)["input_ids"]
    monkeypatch.setattr("rlsys.data.pieces.PIECE", 1000)
    found, rough = tokens_of(text, tokenizer)
    assert (found.tolist(), rough) == (whole, 0)


def test_a_document_that_has_no_place_to_cut_is_cut_and_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Of a tokenizer that has tokens of 1, 2, 4, ... 256 letters, and takes the longest ones first."""
    monkeypatch.setattr("rlsys.data.pieces.PIECE", 1000)
    runs = ["x" * 2**power for power in range(9)]
    merges = [(run, run) for run in runs[:-1]]
    doubling = Tokenizer(models.BPE({run: power for power, run in enumerate([*runs, "[EOS]"])}, merges))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=doubling, eos_token="[EOS]")
    (tmp_path / "a.txt").write_text("x" * 3500)
    (tmp_path / "b.txt").write_text("x" * 1500)
    loaded = load_texts(DatasetConfig(path=str(tmp_path)), tokenizer, 100, True, None)
    thousand, rest, end = (8, 8, 8, 7, 6, 5, 3), (8, 8, 8, 8, 8, 7, 6, 4, 3, 2), 9  # 1000 and 1500 in powers of two
    assert [row.token_ids for row in loaded.rows] == [(*thousand, *thousand, *rest, end, *rest, end)]
    assert loaded.report.counts()["rough_cuts"] == 2
    assert loaded.report.left_out == f"{tmp_path}: long documents were cut at 2 places, perhaps within a token"


@pytest.mark.parametrize("text", ["line\n" * 5000, "line " * 5000, "lines" * 5000])
def test_a_long_text_is_tokenised_in_pieces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tokenizer: Any, text: str):
    monkeypatch.setattr("rlsys.data.pieces.PIECE", 1000)
    (tmp_path / "a.txt").write_text(text)
    loaded = load_texts(DatasetConfig(path=str(tmp_path / "a.txt")), tokenizer, 1001, True, None)
    assert sum(sum(block.loss_mask) for block in loaded.rows) == 25_001  # with EOS
    assert Watched.longest <= 2100  # two pieces, and the end of the one before
