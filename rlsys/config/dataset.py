"""The config of one data set."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from rlsys.config.base import Model


class DatasetConfig(Model):
    path: str
    """Hub id, local .jsonl/.json/.parquet/.txt file, local folder, or `playground:TASK`."""
    split: str = "train"
    """Split of the data set; for `playground:TASK` also the name of the generated split (train or test)."""
    subset: str | None = None
    """Configuration name of a hub data set (`main` for gsm8k)."""
    folder: str | None = None
    """Folder within a hub data set or local folder (`harmless-base` of Anthropic/hh-rlhf)."""
    fields: dict[str, str] = {}
    """Which column is what: keys `prompt`, `answer`, `messages`; for comparisons `chosen`, `rejected`, `margin`,
    `preference`, `answers`, `grades`, `reference_log_probs`, `reference_tokens`, `reference_model`; for labelled
    answers `completion`, `label`; for seed tasks `instruction`, `instances`, `is_classification`, `id`; for raw text
    `text`. Any further key is passed on to rewards. Unmapped names stand for themselves."""
    prompt_format: str | None = None
    """Makes the prompt from columns, as in "{instruction}\\n\\n{input}"; none takes the column `prompt` or
    `messages`."""
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
