"""What the columns of one raw row mean: prompt or messages, answer, further fields. Whatever is missing or of the wrong
type is a `BadRow`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from rlsys.config.dataset import DatasetConfig, RowFormat
from rlsys.data.messages import Message, check_numbers
from rlsys.data.nested import ABSENT, listed, look
from rlsys.data.prompt_format import chosen_format, filled, format_columns
from rlsys.data.raw import BadRow, RawRow
from rlsys.data.reading import LISTS, spoken
from rlsys.data.turns import as_answer, is_sharegpt, reply, turns_of, with_system
from rlsys.data.values import answer_text, as_text, kind, present, truth
from rlsys.errors import ConfigError

OWN = ("prompt", "answer", "completion", "messages", "system", "tools")
FORMATS: tuple[RowFormat, ...] = ("messages", "sharegpt", "prompt", "prompt_answer", "prompt_completion", "alpaca")
"""Those of rows with one answer or none."""


@dataclass(frozen=True, slots=True)
class Row:
    """A checked row: its `turns` are a prompt's text or a list of messages."""

    format: RowFormat
    turns: str | list[Message]
    answer: str | Message | None
    fields: dict[str, str]
    tools: list[Any] | None = None
    """Schemas of the functions that may be called."""

    def prompt(self) -> str | list[Message]:
        """What comes before the answer: of messages, everything but the assistant's turns at the end."""
        if isinstance(self.turns, str):
            return self.turns
        turns = list(self.turns)
        while turns and turns[-1]["role"] == "assistant" and self.format in ("messages", "sharegpt"):
            turns.pop()
        if not any(turn["role"] == "user" for turn in turns):
            raise BadRow("messages without a user turn: no prompt")
        if turns[-1]["role"] not in ("user", "tool"):
            raise BadRow(f"the prompt ends in a turn of the {turns[-1]['role']}: nothing is left to answer")
        return turns

    def demonstration(self) -> tuple[str | list[Message], str | Message | None]:
        """A prompt (text, or messages that end with the user) and its answer; or messages with assistant turns, and
        None."""
        if isinstance(self.turns, str) or (self.answer is not None and self.turns[-1]["role"] != "assistant"):
            if self.answer is None:
                raise BadRow("no answer to learn from")
            return self.turns, self.answer
        if self.answer is not None and self.format not in ("messages", "sharegpt"):
            check_open(self.turns)
        if self.format in ("prompt", "prompt_answer"):
            raise BadRow("no answer to learn from; a dialogue is named by data.*.fields: {messages: COLUMN}")
        if not any(turn["role"] == "assistant" for turn in self.turns):
            raise BadRow("messages without an assistant turn: nothing to learn from")
        turns = list(self.turns)
        while turns[-1]["role"] not in ("assistant", "tool"):  # a question that nobody answers
            turns.pop()
        return turns, None

    def ground_truth(self, after: str | None) -> str | None:
        """The answer, or what follows the last `after` in it, stripped."""
        if not isinstance(self.answer, str) or after is None:
            return self.answer if isinstance(self.answer, str) else None
        _, marker, truth = self.answer.rpartition(after)
        if not marker:
            raise BadRow(f"answer without the marker {after!r}")
        if not truth.strip():
            raise BadRow(f"nothing follows the marker {after!r} in the answer")
        return truth.strip()


def parse(raw: RawRow, config: DatasetConfig, learn: bool = False) -> Row:
    """`config.fields` maps our names to the data set's. `learn`: the row is for its answer, so a `completion` is one,
    and messages count for more than a prompt without an answer. Raises BadRow, and ConfigError for settings that can't
    be meant."""
    if "prompt" in config.fields and "messages" in config.fields:
        raise ConfigError("fields maps both prompt and messages: a row is one or the other; leave one out")
    value = spoken(raw, config)
    fields = {key: value[column] for key, column in config.fields.items() if key not in OWN}
    known = {key: as_text(item) for key, item in fields.items() if present(item) is not None}
    found = detect(value, config, learn)
    if learn:
        _check_label(value, config)
    if found == "alpaca":
        turns, answer = _alpaca(value, config, learn)
    else:
        turns = prompt_of(value, config, found)
        if turns is None:
            raise no_column(value, *(LISTS[:2] if found in ("messages", "sharegpt") else ("prompt",)))
        turns, answer = _answered(value, config, found, turns, learn)
    return Row(found, turns, answer, known, tools_of(value, config))


def check_open(prompt: str | list[Message]) -> None:
    """Raises BadRow for a prompt that ends in the beginning of an answer: what follows would be a turn of its own."""
    if not isinstance(prompt, str) and prompt[-1]["role"] == "assistant":
        raise BadRow("the prompt ends in a turn of the assistant: the answer would be a second one")


def no_column(value: dict[str, Any], *wanted: str) -> BadRow:
    """For a row that has none of the `wanted` columns, of which no setting says what else they are called."""
    empty = next((name for name in wanted if look(value, name) is not ABSENT), None)
    if empty is not None:
        return BadRow(f"the {empty} is {kind(look(value, empty))}, not text")
    return BadRow(
        f"no column {' or '.join(map(repr, wanted))} (there are: {listed(value)}); data.*.fields says which column "
        "is what"
    )


def get(value: dict[str, Any], config: DatasetConfig, own: str) -> Any:
    """What is in the column that stands for one of our names; None where it is missing."""
    return present(value.get(config.fields.get(own, own)))


def detect(value: dict[str, Any], config: DatasetConfig, learn: bool) -> RowFormat:
    """Which of `FORMATS` the row is, by its columns; or the one that the config names. Raises BadRow for none,
    ConfigError for one of another kind."""
    listed_in = _list_column(value, config)
    turned: RowFormat = "sharegpt" if listed_in is not None and is_sharegpt(value[listed_in]) else "messages"
    if config.format != "auto":
        check_format(config, FORMATS)
        if config.format in ("messages", "sharegpt") and listed_in is not None and config.format != turned:
            raise BadRow(f"the messages are of format {turned}, and data.*.format is {config.format}")
        return config.format
    if "messages" in config.fields:
        return turned
    answered = next(
        (
            own
            for own in ("answer", "completion")[: 1 + learn]
            if own in config.fields or get(value, config, own) is not None
        ),
        None,
    )
    asked = config.makes_prompts or "prompt" in config.fields
    if asked or (get(value, config, "prompt") is not None and not (learn and answered is None and listed_in)):
        read_as: dict[str, RowFormat] = {"answer": "prompt_answer", "completion": "prompt_completion"}
        return read_as.get(answered or "", "prompt")
    if listed_in is not None:
        return turned
    if all(present(value.get(column)) is not None for column in ("instruction", "output")):
        return "alpaca"
    raise no_column(value, config.fields.get("prompt", "prompt"), "messages")


def check_format(config: DatasetConfig, known: tuple[RowFormat, ...]) -> None:
    """Raises ConfigError for a format that rows of this kind don't have."""
    if config.format != "auto" and config.format not in known:
        raise ConfigError(
            f"{config.path}: rows of format {config.format} can't be used here; there are auto, {', '.join(known)}"
        )


def _list_column(value: dict[str, Any], config: DatasetConfig) -> str | None:
    if "messages" in config.fields:
        return config.fields["messages"]
    return next((column for column in LISTS if present(value.get(column)) is not None), None)


def prompt_of(value: dict[str, Any], config: DatasetConfig, found: str | None = None) -> str | list[Message] | None:
    """A prompt's text or messages, the row's system text first; None if the row has no column for either. Without a
    format `found`, messages are taken where there is no prompt."""
    prompt, messages = get(value, config, "prompt"), _list_column(value, config)
    if found is None:
        asked = config.makes_prompts or "prompt" in config.fields
        found = (
            "messages"
            if "messages" in config.fields or (not asked and prompt is None and messages is not None)
            else "prompt"
        )
    turns: str | list[Message]
    if found in ("messages", "sharegpt"):
        if messages is None:
            return None
        turns = turns_of(value[messages])
    elif config.makes_prompts:
        turns = _prompt(filled(chosen_format(config, value), value))
    elif prompt is None and config.fields.get("prompt", "prompt") not in value:
        return None
    else:
        turns = turns_of(prompt) if isinstance(prompt, (list, dict)) else _prompt(prompt)
    return with_system(turns, system_of(value, config))


def system_of(value: dict[str, Any], config: DatasetConfig) -> str | None:
    """The row's own system text, if it has one that `prompt_format` does not put elsewhere."""
    system = get(value, config, "system")
    if system is None or config.fields.get("system", "system") in format_columns(config):
        return None
    if not isinstance(system, str):
        raise BadRow(f"the system text is {kind(system)}, not text")
    return system if system.strip() else None


def tools_of(value: dict[str, Any], config: DatasetConfig) -> list[Any] | None:
    """The row's tools, earlier called `functions`: a list or its JSON; None where there are none."""
    tools, functions = (_list_of(value, config, own) for own in ("tools", "functions"))
    if tools and functions:
        raise BadRow("there are both tools and functions, which say the same in two ways; data.*.ignore leaves one out")
    return tools or [{"type": "function", "function": function} for function in functions] or None


def _list_of(value: dict[str, Any], config: DatasetConfig, own: str) -> list[Any]:
    found = get(value, config, own)
    if isinstance(found, str):
        try:
            found = json.loads(found) if found.strip() else None
        except (ValueError, RecursionError) as error:
            raise BadRow(f"the {own} are broken JSON: {error}") from error
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise BadRow(f"the {own} are {kind(found)}, not a list of objects")
    check_numbers(found, "the row", own)
    return found


def _check_label(value: dict[str, Any], config: DatasetConfig) -> None:
    """An answer that its label calls bad is not imitated; a column `label` that is mapped as something else is none."""
    read_otherwise = {*config.fields.values(), *format_columns(config)} - {config.fields.get("label")}
    if "label" not in read_otherwise and truth(get(value, config, "label")) is False:
        raise BadRow(
            "the label calls the answer bad, and it would be imitated; data.*.ignore: [label] takes it all the same"
        )


def _answered(
    value: dict[str, Any], config: DatasetConfig, found: RowFormat, turns: str | list[Message], learn: bool
) -> tuple[str | list[Message], str | Message | None]:
    """The prompt and its answer; or, where a completion is several messages, all of them as one dialogue, of which only
    the completion is trained."""
    completed = found == "prompt_completion"
    own = "completion" if completed or (learn and get(value, config, "answer") is None) else "answer"
    item = get(value, config, own)
    if found == "prompt" or (item is None and own not in config.fields):
        return turns, None
    if not (isinstance(item, dict) or (isinstance(item, list) and item and isinstance(item[0], dict))):
        return turns, answer_text(item)
    messages = reply(item, turns, f"the {own}")
    assert not isinstance(messages, str)
    answer = as_answer(messages)
    if answer is not None:
        return turns, answer
    if not learn:
        return turns, None
    if not messages or messages[-1]["role"] != "assistant":
        raise BadRow(f"the {own} does not end in a turn of the assistant")
    if messages[0]["role"] not in ("assistant", "tool"):
        raise BadRow(f"the {own} begins with a turn of the {messages[0]['role']}, and not with the prompt")
    before = [{"role": "user", "content": turns}] if isinstance(turns, str) else turns
    return [*({**turn, "weight": 0} if turn["role"] == "assistant" else turn for turn in before), *messages], None


def _alpaca(value: dict[str, Any], config: DatasetConfig, learn: bool) -> tuple[str | list[Message], str | None]:
    """The instruction, a blank line and the input, if there is one; and the output."""
    missing = next((column for column in ("instruction", "output") if column not in value), None)
    if missing is not None:
        raise no_column(value, missing)
    turns = with_system(_prompt(filled("{instruction}\n\n{input}", {"input": None, **value})), system_of(value, config))
    answer = get(value, config, "answer") if "answer" in config.fields else value["output"] if learn else None
    return turns, None if answer is None else answer_text(answer)


def _prompt(value: Any) -> str:
    if not isinstance(value, str):
        raise BadRow(f"the prompt is {kind(value)}, not text")
    if not value.strip():
        raise BadRow("the prompt is empty")
    return value
