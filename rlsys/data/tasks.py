"""Seed tasks of Self-Instruct, in its authors' columns: `instruction`, `instances` (a list of {input, output}),
`is_classification`, perhaps `id`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlsys.config.dataset import DatasetConfig
from rlsys.data.chat import Renderer
from rlsys.data.columns import no_column
from rlsys.data.load import load_rows
from rlsys.data.raw import BadRow, RawRow
from rlsys.data.reading import checked
from rlsys.data.report import Loaded, Report
from rlsys.data.values import kind
from rlsys.errors import ConfigError
from rlsys.samples import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Instance:
    """A task done once. `input` is empty where the instruction says all."""

    input: str
    output: str


@dataclass(frozen=True, slots=True)
class Task:
    task_id: str
    instruction: str
    instances: tuple[Instance, ...]
    is_classification: bool
    """Whether the output is one of a few labels."""


@dataclass(frozen=True)
class TaskSet:
    """All seed tasks of a data set, as the one row that a step takes, and how prompts about tasks are put before the
    policy."""

    tasks: tuple[Task, ...]
    renderer: Renderer
    max_prompt_tokens: int

    def prompt(self, prompt_id: str, text: str) -> Prompt | None:
        """None where it is longer than `max_prompt_tokens`."""
        shown, token_ids = self.renderer.prompt(text)
        if len(token_ids) > self.max_prompt_tokens:
            return None
        return Prompt(prompt_id, shown, tuple(token_ids), turns=text)


def load_tasks(
    config: DatasetConfig,
    tokenizer: PreTrainedTokenizerBase,
    max_prompt_tokens: int,
    strict: bool,
    quarantine: Path | None,
) -> Loaded[TaskSet]:
    """One row: all tasks that can be read. Bad rows have a column missing, empty or of another type (see `parse`), or
    the id of an earlier one. Otherwise as `load_prompts`."""
    for key, unset in (("prompt_format", None), ("templates", ()), ("answer_after", None), ("format", "auto")):
        if vars(config)[key] != unset:
            raise ConfigError(f"{config.path}: {key} has no effect on seed tasks; leave it out")
    renderer, ids = Renderer.create(config, tokenizer), set[str]()

    def make(raw: RawRow, row_id: str) -> Task:
        task = parse(raw, config, row_id)
        if task.task_id in ids:
            raise BadRow(f"the id {task.task_id!r} is that of an earlier task")
        ids.add(task.task_id)
        return task

    report = Report.of(config)
    loaded = load_rows(config, make, len, None, strict, quarantine, report)
    report.formats["seed tasks"] = report.kept
    return Loaded([TaskSet(tuple(loaded.rows), renderer, max_prompt_tokens)], loaded.report)


def parse(raw: RawRow, config: DatasetConfig, row_id: str) -> Task:
    """`config.fields` maps our names to the data set's. A row without an id goes by its number. Raises BadRow."""
    value = checked(raw, config)
    name = {own: config.fields.get(own, own) for own in ("instruction", "instances", "is_classification", "id")}
    for own in ("instruction", "instances", "is_classification"):
        if name[own] not in value:
            raise no_column(value, name[own])
    instruction = _text(value[name["instruction"]], "the instruction")
    if not instruction:
        raise BadRow("the instruction is empty")
    found, label = value[name["instances"]], value[name["is_classification"]]
    if not isinstance(found, list) or not found:
        raise BadRow(f"instances is {'an empty list' if found == [] else kind(found)}, not a list of {{input, output}}")
    if not isinstance(label, bool):
        raise BadRow(f"is_classification is {kind(label)}, not true or false")
    instances = tuple(_instance(number, one) for number, one in enumerate(found, start=1))
    own_id = value.get(name["id"])
    return Task(row_id if own_id in (None, "") else str(own_id), instruction, instances, label)


def _instance(number: int, value: Any) -> Instance:
    if not isinstance(value, dict) or "output" not in value:
        raise BadRow(f"instance {number} is {kind(value)} without an output")
    output = _text(value["output"], f"the output of instance {number}")
    if not output:
        raise BadRow(f"the output of instance {number} is empty")
    return Instance(_text(value.get("input", ""), f"the input of instance {number}"), output)


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise BadRow(f"{what} is {kind(value)}, not text")
    return value.strip()
