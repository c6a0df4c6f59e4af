"""From a data set's settings to rows for training. What can't be used is put aside with its line and reason, and
counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rlsys.config.dataset import DatasetConfig
from rlsys.data import comparisons, texts
from rlsys.data.chat import Renderer
from rlsys.data.columns import parse
from rlsys.data.lengths import TooLong
from rlsys.data.nested import ABSENT, look
from rlsys.data.raw import BadRow, RawRow
from rlsys.data.reading import ignored
from rlsys.data.report import Loaded, Report, TextReport
from rlsys.data.sources import read_rows
from rlsys.errors import ConfigError, DataError, NoUsableRow
from rlsys.files import read_lines, write_whole
from rlsys.samples import Prompt

if TYPE_CHECKING:  # importing transformers takes seconds, and a configuration check needs none of it
    from transformers import PreTrainedTokenizerBase

RowT = TypeVar("RowT")


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A prompt with a response to imitate. `loss_mask` is 1 on the assistant's tokens, EOS included; both tuples have
    equal length."""

    row_id: str
    token_ids: tuple[int, ...]
    loss_mask: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Answers to one prompt, each with its prompt's tokens before it, and their grades (higher is better), in the same
    order.

    An answer's `loss_mask` is 1 on the last assistant turn's tokens, EOS included, and nowhere else.
    """

    row_id: str
    answers: tuple[Demonstration, ...]
    grades: tuple[float, ...]
    preference: float = 1.0
    """Probability, from 1/2 to 1, that of two answers the one with the higher grade is better; 1 for rankings of
    more."""
    reference_log_probs: tuple[float, ...] | None = None
    """A reference's log-prob of each answer, summed over its trained tokens, where the row has them."""
    reference_model: str | None = None
    """Which reference that is: its name and version."""
    columns: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """The row as the data set has it, for data sets made from it."""


def load_prompts(
    config: DatasetConfig,
    tokenizer: PreTrainedTokenizerBase,
    max_prompt_tokens: int,
    strict: bool,
    quarantine: Path | None,
) -> Loaded[Prompt]:
    """Prompts of at most `max_prompt_tokens` tokens; of rows with messages, all but the assistant's turns at the end.

    `answer` is the ground truth: the answer column, cut by `answer_after`; the report counts the prompts that have
    none. Prompt ids are `<split>:<number>`, the number counting lines or rows from 1. Bad rows go to the file
    `quarantine` (or, if that is None, are only counted).

    Raises DataError when the data set can't be read or has no usable row, and for the first bad row if `strict`;
    ConfigError for settings that don't fit the data set or the tokenizer.
    """
    renderer, report = Renderer.create(config, tokenizer, max_prompt_tokens), Report.of(config)

    def make(raw: RawRow, row_id: str) -> Prompt:
        row = parse(raw, config)
        asked = row.prompt()
        text, token_ids = renderer.prompt(asked, row.tools)
        turns = asked if isinstance(asked, str) else tuple(asked)
        prompt = Prompt(
            row_id, text, tuple(token_ids), row.ground_truth(config.answer_after), fields=row.fields, turns=turns
        )
        report.formats[row.format] += 1
        return prompt

    loaded = load_rows(
        config, make, lambda prompt: len(prompt.token_ids), max_prompt_tokens, strict, quarantine, report
    )
    report.unanswered = sum(prompt.answer is None for prompt in loaded.rows)
    return loaded


def load_demonstrations(
    config: DatasetConfig, tokenizer: PreTrainedTokenizerBase, max_tokens: int, strict: bool, quarantine: Path | None
) -> Loaded[Demonstration]:
    """Prompts with their whole answers (`answer_after` is for ground truths and cuts nothing here), or messages of
    which every assistant turn is trained, of at most `max_tokens` tokens in all. A row is several demonstrations where
    the chat template renders the last turn in another way than earlier ones (see `Renderer.dialogue`), and the report
    counts it once. Otherwise as `load_prompts`."""
    renderer, report = Renderer.create(config, tokenizer, max_tokens), Report.of(config)

    def make(raw: RawRow, row_id: str) -> list[Demonstration]:
        row = parse(raw, config, learn=True)
        turns, answer = row.demonstration()
        if answer is not None:
            masked = [renderer.demonstration(turns, answer, row.tools)]
        else:
            assert not isinstance(turns, str)
            masked = renderer.dialogue(turns, row.tools)
        if any(not any(mask) or mask[0] for _, mask in masked):
            raise BadRow("no assistant token after the first position: nothing to train on")
        report.formats[row.format] += 1
        return [Demonstration(row_id, tuple(ids), tuple(mask)) for ids, mask in masked]

    def size(made: list[Demonstration]) -> int:
        return max(len(one.token_ids) for one in made)

    loaded = load_rows(config, make, size, max_tokens, strict, quarantine, report)
    return Loaded([one for made in loaded.rows for one in made], loaded.report)


def load_comparisons(
    config: DatasetConfig, tokenizer: PreTrainedTokenizerBase, max_tokens: int, strict: bool, quarantine: Path | None
) -> Loaded[Comparison]:
    """Pairs and rankings (see `comparisons.parse` for their columns), of which every answer has at most `max_tokens`
    tokens with its prompt.

    Rows that say nothing are bad rows: equal answers, an empty one, equal grades, grades that are no finite numbers, a
    preference that is no probability, dialogues without a shared prompt, a reference's log-probs of other tokens.
    Otherwise as `load_prompts`.
    """
    renderer, report = Renderer.create(config, tokenizer, max_tokens), Report.of(config)

    def make(raw: RawRow, row_id: str) -> Comparison:
        ranking = comparisons.parse(raw, config)
        answers = tuple(Demonstration(row_id, tuple(ids), tuple(mask)) for ids, mask in ranking.rendered(renderer))
        ranking.check_tokens([sum(answer.loss_mask) for answer in answers])
        report.formats[ranking.format] += 1
        reference = {"reference_log_probs": ranking.reference_log_probs, "reference_model": ranking.reference_model}
        return Comparison(row_id, answers, ranking.grades, ranking.preference, **reference, columns=raw.value)

    def size(row: Comparison) -> int:
        return max(len(answer.token_ids) for answer in row.answers)

    return load_rows(config, make, size, max_tokens, strict, quarantine, report)


def load_texts(
    config: DatasetConfig, tokenizer: PreTrainedTokenizerBase, block_tokens: int, strict: bool, quarantine: Path | None
) -> Loaded[Demonstration]:
    """Raw text, all of it trained: documents (the column `text`, or whole .txt files), each ended by EOS, one after the
    other in the order of the data set, cut into blocks of `block_tokens` tokens. Otherwise as `load_prompts`.

    Each block begins with BOS if the tokenizer has one; its first token is not trained, as nothing predicts it. The
    last block may be short; one with nothing to train is left out.
    """
    cutter = texts.Cutter.create(config, tokenizer, block_tokens)
    report = TextReport.of(config)
    made = load_rows(config, lambda raw, _: cutter.document(raw), len, None, strict, quarantine, report).rows
    blocks = [
        Demonstration(f"{config.split}:block-{number}", tuple(block), (0, *[1] * (len(block) - 1)))
        for number, block in enumerate(cutter.blocks([tokens for tokens, _ in made]), start=1)
    ]
    report.rough_cuts = sum(cuts for _, cuts in made)
    report.blocks, report.formats["text"] = len(blocks), report.kept
    return Loaded(blocks, report)


def load_rows(
    config: DatasetConfig,
    make: Callable[[RawRow, str], Any],
    size: Callable[[Any], int],
    most: int | None,
    strict: bool,
    quarantine: Path | None,
    report: Report | None = None,
) -> Loaded[Any]:
    """What `make` makes of each row and its id, if its `size` is at most `most` tokens; `report` is filled in."""
    report = report or Report.of(config)
    kept, bad, unseen = [], [], {*ignored(config)[0]}
    for raw in read_rows(config):
        if report.read == config.limit:
            unseen.clear()  # who knows what follows
            break
        report.read += 1
        if isinstance(raw.value, dict):
            unseen = {name for name in unseen if look(raw.value, name) is ABSENT}
        try:
            made = make(raw, f"{config.split}:{raw.number}")
            if most is not None and size(made) > most:
                raise TooLong
        except BadRow as error:
            report.reason = report.reason or str(error)
            if strict:
                raise DataError(
                    f"{config.path}:{raw.number}: {error} (data.strict stops at the first bad row)"
                ) from error
            content = raw.value if isinstance(raw.value, str) else json.dumps(raw.value, default=str)
            bad.append(
                {
                    "source": config.path,
                    "split": config.label,
                    "row": raw.number,
                    "reason": str(error),
                    "content": content,
                }
            )
        except TooLong:
            report.too_long += 1
            report.reason = report.reason or f"longer than {most} tokens"
        else:
            kept.append(made)
    report.kept, report.quarantined = len(kept), len(bad)
    if unseen and report.read:
        raise ConfigError(f"{config.path}: ignore names the column {min(unseen)!r}, which no row has; leave it out")
    if quarantine is not None:
        _put_aside(quarantine, config, bad)
    if not kept:
        raise NoUsableRow(_nothing(config, report, bad, most), report.reason)
    return Loaded(kept, report)


def _nothing(config: DatasetConfig, report: Report, bad: list[dict[str, Any]], most: int | None) -> str:
    first = f"; first bad row, {bad[0]['row']}: {bad[0]['reason']}" if bad else ""
    long = f"{report.too_long} longer than {most} tokens, " if report.too_long else ""
    of = f" of {config.label}" if config.label != "train" and not report.read else ""
    return f"{config.path}: no usable row among {report.read}{of} ({long}{len(bad)} bad{first})"


def _put_aside(quarantine: Path, config: DatasetConfig, bad: list[dict[str, Any]]) -> None:
    """Loading a data set again (on resume) replaces its entries, so that the file lists each bad row once."""
    entries = []
    if quarantine.exists():
        entries = [json.loads(line) for line in read_lines(quarantine)]
    entries = [entry for entry in entries if (entry["source"], entry["split"]) != (config.path, config.label)] + bad
    if entries or quarantine.exists():
        write_whole(quarantine, "".join(json.dumps(entry) + "\n" for entry in entries))
