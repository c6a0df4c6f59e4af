"""The config of one data set."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from rlsys.config.base import Model

RowFormat = Literal[
    "messages",
    "sharegpt",
    "prompt",
    "prompt_answer",
    "prompt_completion",
    "alpaca",
    "chosen_rejected",
    "dialogues",
    "ranking",
    "labelled",
]
Share = Annotated[float, Field(gt=0, lt=1)]


class Part(Model):
    """A part of a data set, told by a hash of each row: further rows change no row's side, and equal rows are on the
    same one."""

    share: Share
    """About this share of the rows."""
    by: str | None = None
    """Rows that are equal in this column stay together; none: rows that are equal."""
    rest: bool = False
    """The other rows, which are not of this share."""


class DatasetConfig(Model):
    path: str
    """Hub id, local file (.jsonl, .ndjson, .json, .csv, .tsv or .txt, each also as .gz or .zst; .parquet, .arrow),
    local folder, or `playground:TASK`."""
    split: str = "train"
    """Split of the data set, or a slice of one (`train[:10%]`, `train[100:200]`); a single file is one split, train.
    Playground tasks have two, train and test."""
    part: Part | None = None
    """Only a part of the split's rows, by hash: `{share: 0.1}`, or `{share: 0.1, rest: true}` for all the others."""
    where: dict[str, str | int | float | bool] = {}
    """Only rows whose columns have these values: `{curation.split: test}`; a column within a column has a dot."""
    format: Literal["auto"] | RowFormat = "auto"
    """What the rows are; auto tells it from each row's columns, and the run says what it found."""
    ignore: tuple[str, ...] = ()
    """Columns, those within others (`meta.id`), and keys of messages (`messages.timestamp`, which the messages in all
    columns lack then), that are read as if they were not there."""
    subset: str | None = None
    """Configuration name of a hub data set (`main` for gsm8k)."""
    folder: str | None = None
    """Folder within a hub data set or local folder (`harmless-base` of Anthropic/hh-rlhf)."""
    fields: dict[str, str] = {}
    """Which column is what: keys `prompt`, `answer`, `completion`, `messages`, `system`, `tools`; for comparisons
    `chosen`, `rejected`, `margin`, `preference`, `answers`, `grades`, `reference_log_probs`, `reference_tokens`,
    `reference_model`; for labelled answers `completion`, `label`; for seed tasks `instruction`, `instances`,
    `is_classification`, `id`; for raw text `text`. Any further key is passed on to rewards. Unmapped names stand for
    themselves; a column within a column has a dot (`reward_model.ground_truth`)."""
    prompt_format: str | None = None
    """Makes the prompt from columns, as in "{instruction}\\n\\n{input}"; none takes the column `prompt` or
    `messages`."""
    templates: tuple[str, ...] = ()
    """Several prompt formats, as in ["{question}", "Solve this: {question}"], so that a model learns the task and not
    one wording of it. Each row is asked in one of them, told by a hash of the row."""
    answer_after: str | None = None
    """The ground truth is what follows the last occurrence of this marker in the answer column (`####` for gsm8k)."""
    system_prompt: str | None = None
    """System message put before every prompt; needs a chat template."""
    chat_template: Literal["auto", "always", "never"] = "auto"
    """Render prompts with the tokenizer's chat template: auto does so if it has one."""
    limit: PositiveInt | None = None
    """Use only the first so many rows."""
    wrong_fraction: float = Field(default=0.0, ge=0, le=1)
    """For `playground:TASK` only: the fraction of rows whose answer is replaced by a wrong one."""
    weight: PositiveFloat = 1.0
    """For `data.train` beside `data.also` only: each of its rows counts as so many in the mixture."""

    fraction: Share | None = None
    """For `data.also` only: this fraction of all rows drawn is of this set, whatever the sizes; the others share the
    rest by theirs."""

    @model_validator(mode="after")
    def _ignores_nothing_it_needs(self) -> DatasetConfig:
        for key, column in self.fields.items():
            if column in self.ignore:
                raise ValueError(
                    f"fields.{key} is the column {column!r}, which ignore leaves out; take it out of one of them"
                )
        return self

    @model_validator(mode="after")
    def _asks_in_one_way(self) -> DatasetConfig:
        if self.templates and self.prompt_format is not None:
            raise ValueError("templates and prompt_format both make the prompt; leave one out")
        if len(set(self.templates)) < len(self.templates):
            raise ValueError("templates names one of them twice; leave one out")
        return self

    @property
    def makes_prompts(self) -> bool:
        """Whether prompts are made from columns."""
        return self.prompt_format is not None or bool(self.templates)

    @property
    def label(self) -> str:
        """The split and its part, for people: no two data sets of one path share it."""
        if self.where:
            told = " and ".join(f"{column} is {value}" for column, value in self.where.items())
            return f"{self.model_copy(update={'where': {}}).label}, where {told}"
        if self.part is None:
            return self.split
        kind = "all but the" if self.part.rest else "the"
        return f"{self.split}, {kind} share {self.part.share:g}" + (f" by {self.part.by}" if self.part.by else "")


class HeldOutConfig(DatasetConfig):
    """A data set of its own (`path`), or a `share` of the training rows, which are then not trained on."""

    path: str = ""
    """As that of `data.train`; none where `share` is given."""
    share: Share | None = None
    """Hold out about this share of `data.train`, told by a hash of each row; those rows are left out of training, from
    `data.also`, too."""
    by: str | None = None
    """With `share`: rows that are equal in this column (a question asked several times) stay together; none: rows that
    are equal."""

    @model_validator(mode="after")
    def _one_of_path_and_share(self) -> HeldOutConfig:
        if (self.share is None) == (not self.path):
            raise ValueError("wanted exactly one of path, a data set of its own, and share, of data.train")
        if self.share is None and self.by is not None:
            raise ValueError("by has no effect without share; leave it out")
        given = [
            key
            for key in DatasetConfig.model_fields
            if vars(self)[key] != type(self).model_fields[key].default and key != "limit"
        ]
        if self.share is not None and given:
            raise ValueError(
                f"{given[0]} has no effect beside share: the rows are read as those of data.train; leave it out"
            )
        return self

    def of(self, train: DatasetConfig | None) -> DatasetConfig:
        """What is held out, as a data set."""
        if self.share is None or train is None:
            return self
        return train.model_copy(update={"part": Part(share=self.share, by=self.by), "limit": self.limit, "weight": 1.0})

    def without(self, train: DatasetConfig) -> DatasetConfig:
        """A training set without what is held out."""
        return (
            train
            if self.share is None
            else train.model_copy(update={"part": Part(share=self.share, by=self.by, rest=True)})
        )
