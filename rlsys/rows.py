"""What a run reads: the rows that its algorithm or stage asks for, from the data sets of its config."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlsys.algorithm import Algorithm, Measures, RowKind, TakesRows
from rlsys.config.dataset import DatasetConfig
from rlsys.config.models import Experiment
from rlsys.data.answered import load_answered
from rlsys.data.chat import uses_template
from rlsys.data.labelled import check_labels, load_labelled
from rlsys.data.load import Comparison, Loaded, Report, load_comparisons, load_demonstrations, load_prompts, load_texts
from rlsys.data.mixture import build_source
from rlsys.data.stream import Source, Stream
from rlsys.data.tasks import load_tasks
from rlsys.errors import DataError

LOADERS: dict[RowKind, Callable[..., Loaded[Any]]] = {
    "prompts": load_prompts,
    "demonstrations": load_demonstrations,
    "comparisons": load_comparisons,
    "texts": load_texts,
    "tasks": load_tasks,
    "labelled": load_labelled,
    "answered": load_answered,
}


@dataclass
class Rows:
    """Loads data sets for one run, and remembers what became of their rows."""

    experiment: Experiment
    algorithm: Algorithm
    tokenizer: Any
    quarantine: Path | None = None
    """The file that bad rows go to; None: they are only counted."""
    any_length: bool = False
    """Judge no length: `tokenizer` stands in for the model's own."""

    def __post_init__(self) -> None:
        self.reports: list[Report] = []
        self.reference: str | None = None

    def training(self) -> Source[Any]:
        """The stream of the training set, or of the mixture of them; with pre-training rows where the config names some."""
        data, seed = self.experiment.data, self.experiment.seed
        loaded = [self.load(config, self.algorithm.rows) for config in (data.train, *data.also)]
        self.check_training(loaded)
        main = build_source(loaded, data, seed)
        if data.pretrain is None:
            return main
        texts = self.load(data.pretrain, row_kind(self.algorithm, "pretrain"))
        self.check_pretraining(texts)
        return WithPretraining(main, Stream(texts.rows, seed, data.shuffle))

    def held_out(self) -> list[Any] | None:
        """Rows of the kind that the algorithm measures itself on; prompts where it is measured by answers."""
        config = self.experiment.data.eval
        if config is None:
            return None
        return self.load(config, row_kind(self.algorithm, "eval")).rows

    def load(self, config: DatasetConfig, kind: RowKind) -> Loaded[Any]:
        loaded = self.read(config, kind)
        self.reports.append(loaded.report)
        if kind == "comparisons" and vars(self.experiment.stage).get("precomputed"):  # a key of some stages
            self.check_reference(config, loaded.rows)
        return loaded

    def read(self, config: DatasetConfig, kind: RowKind) -> Loaded[Any]:
        """The usable rows, of which nothing is remembered; `load` also looks at the reference's model."""
        data = self.experiment.data
        longest = data.max_prompt_tokens if kind in ("prompts", "tasks", "answered") else self.longest
        limits = {"max_answer_tokens": self.experiment.sampling.max_tokens} if kind == "answered" else {}
        if self.any_length:
            longest, limits = sys.maxsize, dict.fromkeys(limits, sys.maxsize)
        loaded = LOADERS[kind](config, self.tokenizer, longest, data.strict, self.quarantine, **limits)
        if kind == "comparisons" and self.algorithm.needs & {"policy", "reward_model"} and not self.any_length:
            self.check_units(config, loaded.rows)
        return loaded

    def check_training(self, loaded: Sequence[Loaded[Any]]) -> None:
        """All rows of the training sets, in the order of the config: enough for a step, and of labels both kinds. Raises DataError."""
        data, rows = self.experiment.data, [row for one in loaded for row in one.rows]
        if self.algorithm.rows == "labelled":
            check_labels(data.train.path, rows)
        # In a mixture a small set comes round several times a step, as asked for; alone it would only repeat itself.
        if not data.also and isinstance(self.algorithm, TakesRows) and len(rows) < (wanted := self.algorithm.rows_per_step):
            raise DataError(
                f"{data.train.path}: has {len(rows)} usable rows, and a step takes {wanted}; take fewer a step or use more data"
            )

    def check_pretraining(self, loaded: Loaded[Any]) -> None:
        """All rows of `data.pretrain`: enough for a step. Raises DataError."""
        wanted = vars(self.experiment.algorithm)["ptx_batch"] * self.algorithm.updates_per_step
        if len(loaded.rows) < wanted:
            raise DataError(
                f"{loaded.report.source}: makes {len(loaded.rows)} rows of up to {self.longest} tokens, and a step takes {wanted}; lower "
                f"algorithm.ptx_batch or use more text"
            )

    def check_units(self, config: DatasetConfig, rows: Sequence[Comparison]) -> None:
        """The answers to one prompt go through the model together, so they must fit into a micro-batch. Raises DataError."""
        budget = self.experiment.policy.tokens_per_micro_batch
        largest = max(rows, key=padded_tokens)
        if padded_tokens(largest) > budget:
            raise DataError(
                f"{config.path}: the {len(largest.answers)} answers of row {largest.row_id} take {padded_tokens(largest)} tokens together, and "
                f"policy.tokens_per_micro_batch is {budget}; raise it, or lower stage.max_tokens"
            )

    def check_reference(self, config: DatasetConfig, rows: Sequence[Comparison]) -> None:
        """The rows must have the log-probs of the reference: of `reference.path`, or of the model that the run starts from. Raises DataError."""
        from rlsys.models.load import local_path  # brings transformers, and a configuration check needs none of it
        from rlsys.models.version import OF_TOKENS, version_of

        experiment, key = self.experiment, "reference.path" if self.experiment.reference.path else "model.path"
        if self.reference is None:
            path = experiment.reference.path or experiment.model.path
            self.reference = version_of(local_path(path, experiment.output / "playground"), OF_TOKENS)
        for row in rows:
            if row.reference_model is None:
                lacks = "reference_model: of which model they are" if row.reference_log_probs else "reference_log_probs"
                raise DataError(
                    f"{config.path}: row {row.row_id} has no {lacks}, and stage.precomputed takes them from there; make them by stage "
                    f"reference_log_probs (for held-out rows, too), or set stage.precomputed=false"
                )
            # Behind the @ stands what is in it; before, what its folder was called.
            if row.reference_model.rpartition("@")[2] != self.reference.rpartition("@")[2]:
                raise DataError(
                    f"{config.path}: row {row.row_id} has the log-probs of {row.reference_model}, and {key} is {self.reference}; set "
                    f"reference.path to that model, named as it was then (a folder or a hub id), or make them anew by stage reference_log_probs"
                )

    @property
    def templated(self) -> bool:
        """Whether the chat template renders any rows."""
        data = self.experiment.data
        configs = [data.train, *data.also, *([data.eval] if data.eval else [])]
        return self.algorithm.rows != "texts" and any(uses_template(config, self.tokenizer) for config in configs)

    @property
    def longest(self) -> int:
        """Tokens of a whole row, or of a prompt with its sample."""
        experiment = self.experiment
        if self.algorithm.rows in ("prompts", "tasks", "answered"):
            return experiment.data.max_prompt_tokens + experiment.sampling.max_tokens
        return experiment.stage.max_tokens


def row_kind(algorithm: Algorithm, section: str) -> RowKind:
    """What the rows of `data.SECTION` are read as."""
    if section == "pretrain":
        return "texts"
    return "prompts" if section == "eval" and not isinstance(algorithm, Measures) else algorithm.rows


def padded_tokens(row: Comparison) -> int:
    """Of all answers, each with its prompt, padded to the longest."""
    return len(row.answers) * max(len(answer.token_ids) for answer in row.answers)


@dataclass(frozen=True)
class WithPretraining(Source[Any]):
    """The rows of `main`, and beside them those of `pretraining`."""

    main: Source[Any]
    pretraining: Source[Any]

    def take(self, n: int) -> list[Any]:
        return self.main.take(n)

    def find(self, ids: Sequence[str]) -> list[Any]:
        return self.main.find(ids)

    def state(self) -> dict[str, Any]:
        return {"main": self.main.state(), "pretraining": self.pretraining.state()}

    def restore(self, state: dict[str, Any]) -> None:
        self.main.restore(state["main"])
        self.pretraining.restore(state["pretraining"])
