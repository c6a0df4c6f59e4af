"""Rows that are far too long are left out before they are tokenised whole, and no row is that may be short enough."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from rlsys.config.dataset import DatasetConfig
from rlsys.data.labelled import load_labelled
from rlsys.data.lengths import TooLong, check_length
from rlsys.data.load import load_comparisons, load_demonstrations, load_prompts, load_texts
from rlsys.data.pieces import pieces
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


@pytest.mark.parametrize(
    ("text", "count"),
    [("ab\n" * 1000, 2), (("ab" * 50 + "\n\n\n\n") * 40, 4), ("\n" * 3000, 1), ("ab" * 1500, 1), ("ab\n" * 600, 1)],
    ids=["lines", "paragraphs", "no text", "no lines", "short"],
)
def test_a_long_document_has_the_tokens_of_the_whole(monkeypatch: pytest.MonkeyPatch, text: str, count: int):
    monkeypatch.setattr("rlsys.data.pieces.PIECE", 1000)
    tokenizer = merging()
    found = [*pieces(text, tokenizer)]
    assert ("".join(found), len(found)) == (text, count)
    own = [token for piece in found for token in tokenizer(piece, add_special_tokens=False)["input_ids"]]
    assert own == tokenizer(text, add_special_tokens=False)["input_ids"]


def test_a_long_text_is_tokenised_in_pieces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tokenizer: Any):
    monkeypatch.setattr("rlsys.data.pieces.PIECE", 1000)
    (tmp_path / "a.txt").write_text("line\n" * 5000)
    loaded = load_texts(DatasetConfig(path=str(tmp_path / "a.txt")), tokenizer, 1001, True, None)
    assert sum(sum(block.loss_mask) for block in loaded.rows) == 25_001  # with EOS
    assert Watched.longest <= 2000
