"""Raw text for all-token training: documents as tokens, cut into blocks of equal length."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from rlsys.config.dataset import DatasetConfig
from rlsys.data.columns import no_column
from rlsys.data.pieces import tokens_of
from rlsys.data.raw import BadRow, RawRow
from rlsys.data.reading import checked
from rlsys.data.template import without_end
from rlsys.data.values import kind
from rlsys.errors import ConfigError

if TYPE_CHECKING:  # importing transformers takes seconds, and a configuration check needs none of it
    from transformers import PreTrainedTokenizerBase

MEANINGLESS = {
    "prompt_format": None,
    "templates": (),
    "system_prompt": None,
    "answer_after": None,
    "chat_template": "auto",
    "format": "auto",
}
"""Settings of prompts, and what each is when nobody set it."""


@dataclass(frozen=True)
class Cutter:
    """Turns rows into tokens and those into blocks."""

    config: DatasetConfig
    tokenizer: PreTrainedTokenizerBase
    block_tokens: int

    @classmethod
    def create(cls, config: DatasetConfig, tokenizer: PreTrainedTokenizerBase, block_tokens: int) -> Cutter:
        """Raises ConfigError when the settings don't fit raw text or the tokenizer."""
        given = [key for key, unset in MEANINGLESS.items() if getattr(config, key) != unset]
        given += [f"fields.{key}" for key in config.fields if key != "text"]
        if given:
            raise ConfigError(f"{config.path}: {given[0]} has no effect on raw text; leave it out")
        if not isinstance(tokenizer.eos_token_id, int):
            raise ConfigError(f"the tokenizer {tokenizer.name_or_path!r} has no EOS token: nothing can part documents")
        if block_tokens < 2:
            raise ConfigError(
                f"blocks of {block_tokens} token have nothing to train: their first token is not predicted; make "
                "them longer"
            )
        return cls(config, tokenizer, block_tokens)

    def document(self, raw: RawRow) -> tuple[array[int], int]:
        """The row's text as tokens, one EOS last, whether the text has it or not; and how many cuts may have changed
        some (see `tokens_of`)."""
        value, column = checked(raw, self.config), self.config.fields.get("text", "text")
        if column not in value:
            raise no_column(value, "text")
        text = value[column]
        if not isinstance(text, str):
            raise BadRow(f"the text is {kind(text)}, not text")
        text = without_end(text, [str(self.tokenizer.eos_token)])
        if not text.strip():
            raise BadRow("the text is empty")
        tokens, cuts = tokens_of(text, self.tokenizer)
        tokens.append(int(self.tokenizer.eos_token_id))  # type: ignore[arg-type]
        return tokens, cuts

    def blocks(self, documents: Sequence[Sequence[int]]) -> Iterator[list[int]]:
        """Blocks of `block_tokens`, the last one of what is left; none of a single token. One that begins with a BOS of
        its own gets no second one."""
        bos = self.tokenizer.bos_token_id
        lead = [bos] if isinstance(bos, int) else []
        tokens = array("i", chain.from_iterable(documents))
        step = self.block_tokens - len(lead)
        for start in range(0, len(tokens), step):
            block = tokens[start : start + step].tolist()
            block = block if block[:1] == lead else lead + block
            if len(block) > 1:
                yield block
