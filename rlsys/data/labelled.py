"""Answers that are each called good or bad, for KTO: from labelled rows, or from pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlsys.config.dataset import DatasetConfig
from rlsys.data import comparisons
from rlsys.data.chat import Renderer
from rlsys.data.columns import check_format, check_open, no_column, prompt_of, tools_of
from rlsys.data.load import Demonstration, load_rows
from rlsys.data.messages import Message
from rlsys.data.raw import BadRow, RawRow
from rlsys.data.reading import spoken
from rlsys.data.report import Loaded, Report
from rlsys.data.turns import as_answer
from rlsys.data.values import kind, present, truth
from rlsys.errors import ConfigError, TooFewRows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OWN = ("prompt", "messages", "system", "tools", "completion", "label")


@dataclass(frozen=True, slots=True)
class Labelled:
    """An answer with its prompt's tokens before it, its `loss_mask` 1 on the answer's own, EOS included. The answers of
    a pair share `row_id`."""

    row_id: str
    answer: Demonstration
    desirable: bool

    @property
    def prompt_tokens(self) -> int:
        return self.answer.loss_mask.index(1)


def load_labelled(
    config: DatasetConfig, tokenizer: PreTrainedTokenizerBase, max_tokens: int, strict: bool, quarantine: Path | None
) -> Loaded[Labelled]:
    """Rows of `prompt`, `completion` and `label` (see `parse`), or pairs as `load_comparisons` reads them, of which the
    better answer is desirable and the other is not. Every answer has at most `max_tokens` tokens with its prompt; a
    pair stays whole, and the report counts it once.

    Rows that say nothing are bad rows: an empty completion, a label that is not true or false (see `values.truth`),
    missing columns; of pairs, soft labels and rankings of more than two. Otherwise as `load_prompts`.
    """
    renderer, report = Renderer.create(config, tokenizer, max_tokens), Report.of(config)

    def make(raw: RawRow, row_id: str) -> tuple[Labelled, ...]:
        if is_pair(raw, config):
            ranking = comparisons.parse(raw, config)
            if len(ranking.answers) > 2:
                raise BadRow(
                    "a ranking of more than two answers does not say which are good; give each a label, or train on "
                    "pairs"
                )
            if ranking.preference < 1:
                raise BadRow(
                    "a soft label (preference) calls neither answer good; train on such pairs by stage preference"
                )
            good = [grade == max(ranking.grades) for grade in ranking.grades]
        else:
            ranking, label = parse(raw, config)
            good = [label]
        rendered = list(zip(ranking.rendered(renderer), good, strict=True))
        report.formats[ranking.format] += 1
        return tuple(
            Labelled(row_id, Demonstration(row_id, tuple(ids), tuple(mask)), one) for (ids, mask), one in rendered
        )

    loaded = load_rows(
        config,
        make,
        lambda made: max(len(row.answer.token_ids) for row in made),
        max_tokens,
        strict,
        quarantine,
        report,
    )
    return Loaded([row for made in loaded.rows for row in made], loaded.report)


def is_pair(raw: RawRow, config: DatasetConfig) -> bool:
    """It has what comparisons are made of, and no completion."""
    check_format(config, (*comparisons.FORMATS, "labelled"))
    if config.format != "auto":
        return config.format != "labelled"
    if "completion" in config.fields or "label" in config.fields or not isinstance(raw.value, dict):
        return False
    there = raw.value.keys() - {*config.ignore}
    return "label" not in there and any(config.fields.get(own, own) in there for own in ("chosen", "answers"))


def parse(raw: RawRow, config: DatasetConfig) -> tuple[comparisons.Ranking, bool]:
    """The answer, as a ranking of one, and whether it is good. Columns as `config.fields` maps them: `prompt` (text or
    messages) or `prompt_format`, `completion` (text, or messages that hold only the answer or begin with the prompt),
    `label` (see `values.truth`). Or `messages` that end in the answer, and `label`. Raises BadRow, and ConfigError for
    settings that can't be meant."""
    unknown = [key for key in config.fields if key not in OWN]
    if unknown:
        raise ConfigError(
            f"fields maps {unknown[0]!r}, which labelled answers don't have (there are: {', '.join(OWN)}); leave it out"
        )
    value = spoken(raw, config)
    columns = {own: config.fields.get(own, own) for own in OWN}
    if columns["label"] not in value:
        raise no_column(value, columns["label"])
    label = value[columns["label"]]
    good = truth(label)
    if good is None:
        said = kind(label) if present(label) is None or isinstance(label, (list, dict)) else repr(label)
        raise BadRow(f"the label is {said}, not true or false")
    prompt = prompt_of(value, config)
    if prompt is None:
        raise no_column(value, columns["prompt"], columns["messages"])
    tools = tools_of(value, config)
    if columns["completion"] in value:
        check_open(prompt)
        return ranking_of(
            prompt, comparisons.answer_to(prompt, value[columns["completion"]], "the completion"), tools
        ), good
    answer = None if isinstance(prompt, str) else as_answer(prompt[-1:])
    if answer is None or len(prompt) < 2:
        raise BadRow(
            f"no column {columns['completion']!r}, and no messages that end in an answer (there are: "
            f"{', '.join(map(repr, value))})"
        )
    return ranking_of(prompt[:-1], answer, tools), good


def ranking_of(prompt: str | list[Message], answer: str | Message, tools: list[Any] | None) -> comparisons.Ranking:
    return comparisons.Ranking(prompt, (answer,), (0.0,), tools=tools, format="labelled")


def check_labels(path: str, rows: Sequence[Any]) -> None:
    """Raises TooFewRows unless there are answers of both kinds: from one kind alone nothing is learned but to like, or
    to dislike, everything."""
    good = sum(row.desirable for row in rows)
    if good in (0, len(rows)):
        only, other = ("desirable", "undesirable") if good else ("undesirable", "desirable")
        advice = ", or imitate them by stage sft" if good else ""
        raise TooFewRows(
            f"{path}: all {len(rows)} answers are labelled {only}; add {other} ones (data.also takes another "
            f"file){advice}"
        )
