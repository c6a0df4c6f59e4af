"""From a data set's settings to prompts or demonstrations: what can't be used is put aside with its line and reason, and counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from rlsys.batch import Prompt
from rlsys.config.models import DatasetConfig
from rlsys.data.chat import Renderer
from rlsys.data.columns import Row, parse
from rlsys.data.sources import BadRow, read_rows
from rlsys.errors import DataError
from rlsys.files import write_whole

if TYPE_CHECKING:  # importing transformers takes seconds, and a configuration check needs none of it
    from transformers import PreTrainedTokenizerBase

RowT = TypeVar("RowT")


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A prompt with a response to imitate. `loss_mask` is 1 on the assistant's tokens, EOS included; both tuples have equal length."""

    row_id: str
    token_ids: tuple[int, ...]
    loss_mask: tuple[int, ...]


@dataclass
class Report:
    """What became of the rows of one data set: read = kept + too_long + quarantined."""

    source: str
    split: str
    read: int = 0
    kept: int = 0
    too_long: int = 0
    """Left out for their length in tokens."""
    quarantined: int = 0
    """Left out as unreadable; each is in the run's `quarantine.jsonl`."""

    def counts(self) -> dict[str, int | str]:
        return asdict(self)


@dataclass(frozen=True)
class Loaded(Generic[RowT]):
    """Usable rows in the order of the data set."""

    rows: list[RowT]
    report: Report


def load_prompts(
    config: DatasetConfig, tokenizer: PreTrainedTokenizerBase, max_prompt_tokens: int, strict: bool, quarantine: Path | None
) -> Loaded[Prompt]:
    """Prompts of at most `max_prompt_tokens` tokens; of rows with messages, everything up to the last user turn.

    `answer` is the ground truth: the answer column, cut by `answer_after`. Prompt ids are `<split>:<number>`, the number counting lines or
    rows from 1. Bad rows go to the file `quarantine` (or, if that is None, are only counted).

    Raises DataError when the data set can't be read or has no usable row, and for the first bad row if `strict`; ConfigError for settings that
    don't fit the data set or the tokenizer.
    """
    renderer = Renderer.create(config, tokenizer)

    def make(row: Row, row_id: str) -> Prompt:
        text, token_ids = renderer.prompt(row.prompt())
        return Prompt(row_id, text, tuple(token_ids), row.ground_truth(config.answer_after), fields=row.fields)

    return _load(config, make, max_prompt_tokens, strict, quarantine)


def load_demonstrations(
    config: DatasetConfig, tokenizer: PreTrainedTokenizerBase, max_tokens: int, strict: bool, quarantine: Path | None
) -> Loaded[Demonstration]:
    """Prompts with their whole answers (`answer_after` is for ground truths and cuts nothing here), or messages of which every assistant turn
    is trained, of at most `max_tokens` tokens in all. Otherwise as `load_prompts`."""
    renderer = Renderer.create(config, tokenizer)

    def make(row: Row, row_id: str) -> Demonstration:
        token_ids, loss_mask = renderer.demonstration(*row.demonstration())
        if not any(loss_mask) or loss_mask[0]:
            raise BadRow("no assistant token after the first position: nothing to train on")
        return Demonstration(row_id, tuple(token_ids), tuple(loss_mask))

    return _load(config, make, max_tokens, strict, quarantine)


def _load(config: DatasetConfig, make: Callable[[Row, str], Any], max_tokens: int, strict: bool, quarantine: Path | None) -> Loaded[Any]:
    report = Report(config.path, config.split)
    kept, bad = [], []
    for raw in read_rows(config):
        if report.read == config.limit:
            break
        report.read += 1
        try:
            made = make(parse(raw, config.fields), f"{config.split}:{raw.number}")
        except BadRow as error:
            if strict:
                raise DataError(f"{config.path}:{raw.number}: {error} (data.strict stops at the first bad row)") from error
            bad.append(
                {"source": config.path, "split": config.split, "row": raw.number, "reason": str(error), "content": _as_text(raw.value)}
            )
            continue
        if len(made.token_ids) > max_tokens:
            report.too_long += 1
        else:
            kept.append(made)
    report.kept, report.quarantined = len(kept), len(bad)
    if quarantine is not None:
        _put_aside(quarantine, config, bad)
    if not kept:
        first = f"; first bad row, {bad[0]['row']}: {bad[0]['reason']}" if bad else ""
        raise DataError(
            f"{config.path}: no usable row among {report.read} ({report.too_long} longer than {max_tokens} tokens, {len(bad)} bad{first})"
        )
    return Loaded(kept, report)


def _put_aside(quarantine: Path, config: DatasetConfig, bad: list[dict[str, Any]]) -> None:
    """Loading a data set again (on resume) replaces its entries, so that the file lists each bad row once."""
    entries = []
    if quarantine.exists():
        entries = [json.loads(line) for line in quarantine.read_text(encoding="utf-8").splitlines()]
    entries = [entry for entry in entries if (entry["source"], entry["split"]) != (config.path, config.split)] + bad
    if entries or quarantine.exists():
        write_whole(quarantine, "".join(json.dumps(entry) + "\n" for entry in entries))


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
