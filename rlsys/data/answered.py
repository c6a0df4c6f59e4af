"""Prompts that come with an answer to imitate, for algorithms that sample answers of their own beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rlsys.config.dataset import DatasetConfig
from rlsys.data.chat import Renderer
from rlsys.data.columns import Row, parse
from rlsys.data.load import Demonstration, load_rows
from rlsys.data.messages import Message
from rlsys.data.raw import BadRow, RawRow
from rlsys.data.report import Loaded, Report
from rlsys.data.turns import as_answer
from rlsys.samples import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Answered:
    """`demonstration` begins with the prompt's own tokens; its `loss_mask` is 1 on all tokens after them, the answer's
    and its EOS."""

    prompt: Prompt
    demonstration: Demonstration

    @property
    def row_id(self) -> str:
        return self.prompt.prompt_id


def load_answered(
    config: DatasetConfig,
    tokenizer: PreTrainedTokenizerBase,
    max_prompt_tokens: int,
    strict: bool,
    quarantine: Path | None,
    max_answer_tokens: int,
) -> Loaded[Answered]:
    """Prompts with their whole answers, or messages, of which the last assistant turn is the answer and everything
    before it the prompt.

    A row stays if its prompt has at most `max_prompt_tokens` tokens and its answer at most `max_answer_tokens`, as a
    sample would. `answer` of the prompt is the ground truth, as in `load_prompts`. Bad rows, beside those of
    `load_prompts`: no answer, and a chat template that does not begin the answered dialogue with the tokens that it
    gives for its prompt. Otherwise as `load_prompts`.
    """
    longest = max_prompt_tokens + max_answer_tokens
    renderer, report = Renderer.create(config, tokenizer, longest), Report.of(config)

    def make(raw: RawRow, row_id: str) -> Answered:
        row = parse(raw, config, learn=True)
        asked, answer = split(row)
        text, prompt_ids = renderer.prompt(asked, row.tools)
        token_ids, loss_mask = renderer.demonstration(asked, answer, row.tools)
        if not any(loss_mask) or not prompt_ids:
            raise BadRow("no prompt or no answer token: nothing to tell apart")
        before = len(prompt_ids)
        if token_ids[:before] != prompt_ids or any(loss_mask[:before]) or not all(loss_mask[before:]):
            raise BadRow(
                "the chat template renders the prompt with its answer in other tokens than the prompt alone, so "
                "samples could be told by that"
            )
        turns = asked if isinstance(asked, str) else tuple(asked)
        truth = row.ground_truth(config.answer_after)
        report.formats[row.format] += 1
        prompt = Prompt(row_id, text, tuple(prompt_ids), truth, fields=row.fields, turns=turns)
        return Answered(prompt, Demonstration(row_id, tuple(token_ids), tuple(loss_mask)))

    def size(row: Answered) -> int:
        prompt, whole = len(row.prompt.token_ids), len(row.demonstration.token_ids)
        return whole if prompt <= max_prompt_tokens and whole - prompt <= max_answer_tokens else longest + 1

    loaded = load_rows(config, make, size, longest, strict, quarantine, report)
    report.unanswered = sum(row.prompt.answer is None for row in loaded.rows)
    return loaded


def split(row: Row) -> tuple[str | list[Message], str | Message]:
    """The prompt, a text or messages, and the answer to it."""
    turns, answer = row.demonstration()
    if answer is not None:
        return turns, answer
    assert not isinstance(turns, str)
    last = max(place for place, turn in enumerate(turns) if turn["role"] == "assistant")
    if last == 0 or turns[last - 1]["role"] == "assistant":
        raise BadRow("the last assistant turn answers nobody: no prompt")
    said = as_answer(turns[last : last + 1])
    assert said is not None
    return turns[:last], said
