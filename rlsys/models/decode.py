"""From sampled tokens to the text that rewards, judges and people see."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any


@dataclass(frozen=True)
class Decoder:
    """Special tokens are left out, and so is the one of `stop_ids` that ended the response. An id that the tokenizer
    lacks (models often have more embeddings than their tokenizers have tokens) is shown as `<|unknown:ID|>`; the tokens
    before and after it are decoded apart."""

    tokenizer: Any
    stop_ids: Collection[int] = ()

    @cached_property
    def known(self) -> frozenset[int]:
        return frozenset(self.tokenizer.get_vocab().values())

    def text(self, token_ids: Sequence[int]) -> str:
        ids = list(token_ids[:-1] if token_ids and token_ids[-1] in self.stop_ids else token_ids)
        if not self.unknown(ids):
            return self._decoded(ids)
        runs = [(known, list(run)) for known, run in groupby(ids, key=self.known.__contains__)]
        return "".join(
            self._decoded(run) if known else "".join(map("<|unknown:{}|>".format, run)) for known, run in runs
        )

    def unknown(self, token_ids: Sequence[int]) -> int:
        """How many of the ids the tokenizer lacks."""
        return sum(token_id not in self.known for token_id in token_ids)

    def _decoded(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True)
