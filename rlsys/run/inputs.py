"""What a run reads: the rows that its method asks for, from the data sets of its config."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rlsys.check.sizes import longest_sequence
from rlsys.config.dataset import DatasetConfig
from rlsys.config.experiment import Experiment
from rlsys.curation.corpus import Corpus, load_raw
from rlsys.data.answered import load_answered
from rlsys.data.chat import uses_template
from rlsys.data.labelled import check_labels, load_labelled
from rlsys.data.load import Comparison, load_comparisons, load_demonstrations, load_prompts, load_texts
from rlsys.data.mixture import WithPretraining, build_source
from rlsys.data.report import Loaded, Report
from rlsys.data.stream import Source, Stream
from rlsys.data.tasks import load_tasks
from rlsys.errors import DataError, TooFewRows
from rlsys.methods.base import SAMPLED, Facts, RowKind
from rlsys.run.changes import content
from rlsys.run.ground_truths import check_truths

LONGEST_TOKEN = 256
"""Bytes; twice the longest run of spaces that is one token in a tokenizer in use."""
LOADERS: dict[RowKind, Callable[..., Loaded[Any]]] = {
    "prompts": load_prompts,
    "demonstrations": load_demonstrations,
    "comparisons": load_comparisons,
    "texts": load_texts,
    "tasks": load_tasks,
    "labelled": load_labelled,
    "answered": load_answered,
    "raw": load_raw,
}


@dataclass
class Inputs:
    """Loads data sets for one run, and remembers what became of their rows."""

    experiment: Experiment
    tokenizer: Any
    at: Callable[[str], Path | None]
    """The folder that a model path means; None: it is not here."""
    quarantine: Path | None = None
    """The file that bad rows go to; None: they are only counted."""
    any_length: bool = False
    """Judge no length, but what is too long for any tokenizer: `tokenizer` stands in for the model's own."""

    def __post_init__(self) -> None:
        self.reports: list[Report] = []
        self.training_rows = 0
        """Usable ones of all training sets."""
        self.contents: dict[str, str] = {}
        """What is in the usable rows (`changes.content`), by section of the config."""

    def training(self) -> Source[Any]:
        """The stream of the training set, or of the mixture of them; with pre-training rows where the config names
        some. Empty where a method that only measures has no training set."""
        data, seed = self.experiment.data, self.experiment.seed
        if data.train is None:
            return Stream[Any]([], seed, data.shuffle)
        if self.facts.rows == "raw":
            self.training_rows = 1  # all of it is one step
            folder = self.quarantine and self.quarantine.parent
            return Corpus(data.training(), data.contamination, data.held_out(), folder)
        sections = ("data.train", *(f"data.also.{index}" for index in range(len(data.also))))
        loaded = [
            self.load(config, self.facts.rows, section)
            for config, section in zip(data.training(), sections, strict=True)
        ]
        self.check_training(loaded)
        self.training_rows = sum(len(one.rows) for one in loaded)
        main = build_source(loaded, data, seed)
        if data.pretrain is None:
            return main
        texts = self.load(data.pretrain, row_kind(self.facts, "pretrain"), "data.pretrain")
        self.check_pretraining(texts)
        return WithPretraining(main, Stream(texts.rows, seed, data.shuffle))

    def held_out(self) -> list[Any] | None:
        """Rows of the kind that the method measures itself on; prompts where it is measured by answers."""
        config = self.experiment.data.held_out()
        if config is None:
            return None
        return self.load(config, row_kind(self.facts, "eval"), "data.eval").rows

    def load(self, config: DatasetConfig, kind: RowKind, section: str) -> Loaded[Any]:
        loaded = self.read(config, kind)
        self.contents[section] = content(loaded.rows)
        self.reports.append(loaded.report)
        return loaded

    def read(self, config: DatasetConfig, kind: RowKind) -> Loaded[Any]:
        """The usable rows, of which nothing is remembered."""
        data = self.experiment.data
        longest = data.max_prompt_tokens if kind in SAMPLED else self.longest
        limits = {"max_answer_tokens": self.experiment.sampling.max_tokens} if kind == "answered" else {}
        if self.any_length:
            longest = sys.maxsize if kind == "texts" else LONGEST_TOKEN * longest
            limits = {name: LONGEST_TOKEN * limit for name, limit in limits.items()}
        loaded = LOADERS[kind](config, self.tokenizer, longest, data.strict, self.quarantine, **limits)
        if kind in ("prompts", "answered"):
            loaded.report.untold = check_truths(self.experiment, loaded.rows, config.path)
        if kind == "comparisons" and self.facts.trains and not self.any_length:
            self.check_units(config, loaded.rows)
        if kind == "comparisons" and vars(self.experiment.method).get("precomputed"):  # a key of some methods
            self.check_reference(config, loaded.rows)
        return loaded

    def check_training(self, loaded: Sequence[Loaded[Any]]) -> None:
        """All rows of the training sets, in the order of the config: enough for a step, and of labels both kinds.
        Raises TooFewRows."""
        data, rows = self.experiment.data, [row for one in loaded for row in one.rows]
        path = data.train.path if data.train else "data.train"
        if self.facts.rows == "labelled":
            check_labels(path, rows)
        # In a mixture a small set comes round several times a step, as asked for; alone it would only repeat itself.
        if not data.also and (wanted := self.facts.rows_per_step) is not None and len(rows) < wanted:
            raise TooFewRows(
                f"{path}: has {len(rows)} usable rows, and a step takes {wanted}; take fewer a step or use more data"
            )

    def check_pretraining(self, loaded: Loaded[Any]) -> None:
        """All rows of `data.pretrain`: enough for a step. Raises TooFewRows."""
        wanted = vars(self.experiment.method)["ptx_batch"] * self.facts.updates_per_step
        if len(loaded.rows) < wanted:
            raise TooFewRows(
                f"{loaded.report.source}: makes {len(loaded.rows)} rows of up to {self.longest} tokens, and a step "
                f"takes {wanted}; lower "
                f"method.ptx_batch or use more text"
            )

    def check_units(self, config: DatasetConfig, rows: Sequence[Comparison]) -> None:
        """The answers to one prompt go through the model together, so they must fit into a micro-batch. Raises
        DataError."""
        budget = self.experiment.policy.tokens_per_micro_batch
        largest = max(rows, key=padded_tokens)
        if padded_tokens(largest) > budget:
            raise DataError(
                f"{config.path}: the {len(largest.answers)} answers of row {largest.row_id} take "
                f"{padded_tokens(largest)} tokens together, and "
                f"policy.tokens_per_micro_batch is {budget}; raise it, or lower method.max_tokens"
            )

    def check_reference(self, config: DatasetConfig, rows: Sequence[Comparison]) -> None:
        """The rows must have the log-probs of the reference: of `reference.path`, or of the model that the run starts
        from, where that is here. Raises DataError."""
        key = "reference.path" if self.experiment.reference.path else "model.path"
        for row in rows:
            if row.reference_model is None:
                lacks = "reference_model: of which model they are" if row.reference_log_probs else "reference_log_probs"
                raise DataError(
                    f"{config.path}: row {row.row_id} has no {lacks}, and method.precomputed takes them from there; "
                    "make them by method "
                    f"reference_log_probs (for held-out rows, too), or set method.precomputed=false"
                )
            # Behind the @ stands what is in it; before, what its folder was called.
            if self.reference and row.reference_model.rpartition("@")[2] != self.reference.rpartition("@")[2]:
                raise DataError(
                    f"{config.path}: row {row.row_id} has the log-probs of {row.reference_model}, and {key} is "
                    f"{self.reference}; set "
                    "reference.path to that model, named as it was then (a folder or a hub id), or make them anew by "
                    "method reference_log_probs"
                )

    @cached_property
    def reference(self) -> str | None:
        """The version of the model that the run's reference is; None where it is not here."""
        from rlsys.models.version import OF_TOKENS, version_of  # brings transformers, and not every run needs it

        folder = self.at(self.experiment.reference.path or self.experiment.model.path)
        return None if folder is None else version_of(folder, OF_TOKENS)

    @property
    def facts(self) -> Facts:
        return self.experiment.method.facts

    @property
    def templated(self) -> bool:
        """Whether the chat template renders any rows."""
        data = self.experiment.data
        held_out = data.held_out()
        configs = [*data.training(), *([held_out] if held_out else [])]
        return self.facts.rows != "texts" and any(uses_template(config, self.tokenizer) for config in configs)

    @property
    def longest(self) -> int:
        """Tokens of a whole row, or of a prompt with its sample."""
        return longest_sequence(self.experiment)


def row_kind(facts: Facts, section: str) -> RowKind:
    """What the rows of `data.SECTION` are read as."""
    if section == "pretrain":
        return "texts"
    if section == "contamination":
        return "raw"
    return "prompts" if section == "eval" and not facts.measures else facts.rows


def padded_tokens(row: Comparison) -> int:
    """Of all answers, each with its prompt, padded to the longest."""
    return len(row.answers) * max(len(answer.token_ids) for answer in row.answers)
