"""What one raw row says about answers to a prompt: which is better, or how good each is. Whatever can't be compared is
a `BadRow`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rlsys.config.dataset import DatasetConfig, RowFormat
from rlsys.data import dialogue
from rlsys.data.chat import Renderer
from rlsys.data.columns import check_format, check_open, no_column, prompt_of, system_of, tools_of
from rlsys.data.messages import Message
from rlsys.data.raw import BadRow, RawRow
from rlsys.data.reading import spoken
from rlsys.data.turns import after_systems, as_answer, leading_systems, reply, turns_of, with_system
from rlsys.data.values import kind, number, present
from rlsys.errors import ConfigError

OWN = (
    *("prompt", "messages", "system", "tools", "chosen", "rejected", "margin", "preference", "answers", "grades"),
    *("reference_log_probs", "reference_tokens", "reference_model"),
)
FORMATS: tuple[RowFormat, ...] = ("chosen_rejected", "dialogues", "ranking")


@dataclass(frozen=True, slots=True)
class Ranking:
    """Answers to one prompt, each with its grade (higher is better)."""

    prompt: str | list[Message]
    answers: tuple[str | Message, ...]
    """Texts, or the assistant's messages where they say more."""
    grades: tuple[float, ...]
    preference: float = 1.0
    """Probability, from 1/2 to 1, that of two answers the one with the higher grade is better."""
    reference_log_probs: tuple[float, ...] | None = None
    """What a reference made of each answer, and of how many tokens."""
    reference_tokens: tuple[float, ...] | None = None
    reference_model: str | None = None
    """Which reference that is: its name and version."""
    from_dialogues: bool = False
    """It was read from dialogues in one text, so it can go back to plain text."""
    tools: list[Any] | None = None
    """Schemas of the functions that may be called."""
    format: RowFormat = "chosen_rejected"

    def rendered(self, renderer: Renderer) -> list[tuple[list[int], list[int]]]:
        """Token ids and loss mask of the prompt with each answer; only the answer's tokens and its EOS have mask 1."""
        prompt, lead = self.prompt, ""
        if self.from_dialogues and renderer.template is None:
            assert not isinstance(prompt, str)
            prompt, lead = dialogue.prompt_text(prompt), " "
        answers = [lead + answer if isinstance(answer, str) else answer for answer in self.answers]
        rendered = [renderer.demonstration(prompt, answer, self.tools) for answer in answers]
        if any(not any(mask) or mask[0] for _, mask in rendered):
            raise BadRow("no answer token after the first position: nothing to compare")
        if len({tuple(ids) for ids, _ in rendered}) < len(rendered):
            raise BadRow(
                "two answers are the same tokens: the chat template, or the tokenizer, drops all that they differ in"
            )
        return rendered

    def check_tokens(self, tokens: Sequence[int]) -> None:
        """Log-probs that were measured with another tokenizer or template are of other tokens."""
        if self.reference_tokens is not None and list(self.reference_tokens) != list(tokens):
            raise BadRow(
                f"the reference's log-probs are of {_listed(self.reference_tokens)} tokens, and the answers have "
                f"{_listed(tokens)} here: they were "
                f"measured with another tokenizer or template"
            )


def _listed(numbers: Sequence[float]) -> str:
    return " and ".join(f"{number:g}" for number in numbers)


def parse(raw: RawRow, config: DatasetConfig) -> Ranking:
    """Columns as `config.fields` maps them:

    - `chosen` and `rejected`: two whole dialogues (text in the Human/Assistant format, or messages) that differ in the
      last assistant turn alone, or, beside a `prompt` (text or messages) or `prompt_format`, two answers (text, or
      messages that hold only the answer or begin with the prompt). A prompt beside whole dialogues must be their
      beginning; its system texts come before theirs. A `margin` above 0 says by how much the better one is better;
      without one it is 1. A `preference`, a soft label, is the probability that the chosen one is the better one;
      without one it is 1, and below 1/2 the rejected one gets the higher grade.
    - `prompt` and `answers`, a list of answers, best first; or in any order with their `grades`, a list of numbers.

    Either may have `system`, a text before the prompt, and `tools`; and `reference_log_probs`, a number for each answer
    (chosen, rejected; or in the order of `answers`), and then `reference_tokens` and `reference_model`, a text.

    Raises BadRow, and ConfigError for settings that can't be meant.
    """
    unknown = [key for key in config.fields if key not in OWN]
    if unknown:
        raise ConfigError(
            f"fields maps {unknown[0]!r}, which comparisons don't have (there are: {', '.join(OWN)}); leave it out"
        )
    check_format(config, FORMATS)
    value = spoken(raw, config)
    columns = {own: config.fields.get(own, own) for own in OWN}
    listed = columns["answers"] in value if config.format == "auto" else config.format == "ranking"
    ranking = replace(
        _list(value, columns, config) if listed else _pair(value, columns, config), tools=tools_of(value, config)
    )
    if len({json.dumps(answer, sort_keys=True, default=str) for answer in ranking.answers}) < len(ranking.answers):
        raise BadRow("two answers are equal" if listed else "chosen and rejected are equal")
    if len(set(ranking.grades)) == 1:
        raise BadRow("all grades are equal: nothing is better than the rest")
    if "reference_log_probs" not in config.fields and present(value.get("reference_log_probs")) is None:
        return ranking
    asked = {
        own: _numbers(value.get(columns[own]), own, len(ranking.answers))
        for own in ("reference_log_probs", "reference_tokens")
    }
    model = value.get(columns["reference_model"])
    return replace(ranking, **asked, reference_model=None if model is None else _text(model, "reference_model"))


def _list(value: dict[str, Any], columns: dict[str, str], config: DatasetConfig) -> Ranking:
    if columns["answers"] not in value:
        raise no_column(value, columns["answers"])
    prompt, answers, grades = (
        prompt_of(value, config),
        _unpacked(value[columns["answers"]]),
        value.get(columns["grades"]),
    )
    if prompt is None:
        raise BadRow("answers without a prompt")
    check_open(prompt)
    if present(value.get(columns["preference"])) is not None:
        raise BadRow("a preference is for two answers, chosen and rejected, and this row has a list of them")
    if not isinstance(answers, list) or len(answers) < 2:
        raise BadRow(
            f"answers is {kind(answers)}{' of fewer than two' * isinstance(answers, list)}, not a list of two or "
            "more texts"
        )
    texts = tuple(answer_to(prompt, answer, f"answer {number}") for number, answer in enumerate(answers, start=1))
    if present(grades) is None and "grades" not in config.fields:
        return Ranking(
            prompt, texts, tuple(float(len(texts) - 1 - place) for place in range(len(texts))), format="ranking"
        )
    return Ranking(prompt, texts, _numbers(grades, "grades", len(texts)), format="ranking")


def _pair(value: dict[str, Any], columns: dict[str, str], config: DatasetConfig) -> Ranking:
    for name in ("chosen", "rejected"):
        if columns[name] not in value:
            raise no_column(value, columns[name], columns["answers"])
    margin, preference = _margin(value, columns, config), _preference(value, columns, config)
    grades = (margin, 0.0) if preference >= 0.5 else (0.0, margin)
    sure = max(preference, 1 - preference)
    chosen, rejected = value[columns["chosen"]], value[columns["rejected"]]
    prompt = None if config.format == "dialogues" else prompt_of(value, config)
    if prompt is None and config.format == "chosen_rejected":
        raise no_column(value, columns["prompt"], columns["messages"])
    if prompt is not None and (config.format == "chosen_rejected" or not _are_dialogues(chosen, rejected, prompt)):
        check_open(prompt)
        if config.format == "auto":
            _check_answers(prompt, chosen, rejected)
        return Ranking(
            prompt, (answer_to(prompt, chosen, "chosen"), answer_to(prompt, rejected, "rejected")), grades, sure
        )
    (before, better), (other, worse) = _split(chosen, "chosen"), _split(rejected, "rejected")
    if before != other:
        raise BadRow("chosen and rejected share no prompt: they differ before the last assistant turn")
    if prompt is not None and not _begins(prompt, before):
        raise BadRow(
            "chosen and rejected are whole dialogues, and the prompt beside them is not their beginning; "
            "data.*.format: dialogues goes by the dialogues alone"
        )
    asked = with_system([], system_of(value, config)) if prompt is None else prompt
    if not isinstance(asked, str):
        before = after_systems(leading_systems(asked), before)
    in_text = isinstance(chosen, str) and isinstance(rejected, str)
    return Ranking(before, (better, worse), grades, sure, from_dialogues=in_text, format="dialogues")


def _are_dialogues(chosen: Any, rejected: Any, prompt: str | list[Message]) -> bool:
    """Rather than answers to the prompt: texts that begin with a turn of the human, or messages that are neither an
    answer nor the prompt and one."""
    if isinstance(chosen, str) or isinstance(rejected, str):
        return all(isinstance(turns, str) and dialogue.begins(turns) for turns in (chosen, rejected))
    named = (("chosen", chosen), ("rejected", rejected))
    replies = [reply(turns, prompt, name) for name, turns in named]
    if all(not isinstance(one, str) and as_answer(one) is not None for one in replies):
        return False
    return all(_turns(turns, name)[0]["role"] != "assistant" for name, turns in named)


def _begins(prompt: str | list[Message], before: list[Message]) -> bool:
    """Whether the prompt, apart from system turns before it, is the beginning of the dialogue; of a text, its first or
    its last question will do, too."""
    turns = before[len(leading_systems(before)) :]
    if not isinstance(prompt, str):
        asked = prompt[len(leading_systems(prompt)) :]
        return turns[: len(asked)] == asked
    questions = [turn["content"].strip() for turn in turns if turn["role"] == "user"]
    if prompt.strip() in (*questions[:1], *questions[-1:]):
        return True
    plain = all(turn["role"] in dialogue.SPEAKERS.values() for turn in turns)
    if not plain or not dialogue.begins(prompt):
        return False
    return dialogue.prompt_text(turns).startswith(dialogue.led(prompt).rstrip())


def _check_answers(prompt: str | list[Message], *answers: Any) -> None:
    """Raises BadRow for texts that repeat the prompt: nothing tells whether they are answers."""
    asked = prompt if isinstance(prompt, str) else prompt[-1]["content"]
    if asked.strip() and all(isinstance(text, str) and text.startswith(asked) for text in answers):
        raise BadRow(
            "chosen and rejected begin with the prompt; cut it off, or data.*.format: chosen_rejected takes them as "
            "answers that repeat it"
        )


def _split(turns: Any, name: str) -> tuple[list[Message], str | Message]:
    """A whole dialogue's prompt and its last assistant turn."""
    messages = _turns(turns, name)
    answer = as_answer(messages[-1:])
    if answer is None:
        raise BadRow(f"{name} does not end in an assistant turn")
    if len(messages) == 1:
        raise BadRow(f"{name} has no prompt before the answer")
    return messages[:-1], answer


def _turns(turns: Any, name: str) -> list[Message]:
    try:
        return turns_of(turns)
    except BadRow as error:
        raise BadRow(f"{name}: {error}") from error


def answer_to(prompt: str | list[Message], turns: Any, name: str) -> str | Message:
    messages = reply(turns, prompt, name)
    answer = messages if isinstance(messages, str) else as_answer(messages)
    if answer is None:
        raise BadRow(f"{name} holds other messages than one assistant turn (or the prompt and one)")
    return answer


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise BadRow(f"{name} is {kind(value)}, not text")
    if not value.strip():
        raise BadRow(f"{name} is empty")
    return value


def _margin(value: dict[str, Any], columns: dict[str, str], config: DatasetConfig) -> float:
    margin = value.get(columns["margin"])
    if present(margin) is None and "margin" not in config.fields:
        return 1.0
    found = number(margin, "the margin")
    if found <= 0:
        raise BadRow(f"the margin is {found:g}: the chosen answer is not the better one")
    return found


def _preference(value: dict[str, Any], columns: dict[str, str], config: DatasetConfig) -> float:
    preference = value.get(columns["preference"])
    if present(preference) is None and "preference" not in config.fields:
        return 1.0
    found = number(preference, "the preference")
    if not 0 <= found <= 1:
        raise BadRow(f"the preference is {found:g}, not a probability from 0 to 1")
    return found


def _numbers(values: Any, name: str, count: int) -> tuple[float, ...]:
    values = _unpacked(values)
    if not isinstance(values, list) or len(values) != count:
        raise BadRow(f"{name} is not a list of {count} numbers, one for each answer")
    one = "grade" if name == "grades" else f"{name}:"
    return tuple(number(value, f"{one} {place}") for place, value in enumerate(values, start=1))


def _unpacked(values: Any) -> Any:
    """A list, or its JSON in a text, as tables have it."""
    if not isinstance(values, str) or not values.lstrip().startswith("["):
        return values
    try:
        return json.loads(values)
    except (ValueError, RecursionError) as error:
        raise BadRow(f"a list that is broken JSON: {error}") from error
