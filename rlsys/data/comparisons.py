"""What one raw row says about answers to a prompt: which is better, or how good each is. Whatever can't be compared is
a `BadRow`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rlsys.config.dataset import DatasetConfig
from rlsys.data import dialogue
from rlsys.data.chat import Message, Renderer
from rlsys.data.columns import checked, kind, no_column, prompt_of, turns_of
from rlsys.data.sources import BadRow, RawRow
from rlsys.errors import ConfigError

OWN = (
    *("prompt", "messages", "chosen", "rejected", "margin", "preference", "answers", "grades"),
    *("reference_log_probs", "reference_tokens", "reference_model"),
)
LARGEST = 3.4e38
"""What float32 can hold."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Answers to one prompt, each with its grade (higher is better)."""

    prompt: str | list[Message]
    answers: tuple[str, ...]
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

    def rendered(self, renderer: Renderer) -> list[tuple[list[int], list[int]]]:
        """Token ids and loss mask of the prompt with each answer; only the answer's tokens and its EOS have mask 1."""
        prompt, lead = self.prompt, ""
        if self.from_dialogues and not renderer.templated:
            assert not isinstance(prompt, str)
            prompt, lead = dialogue.prompt_text(prompt), " "
        rendered = [renderer.demonstration(prompt, lead + answer) for answer in self.answers]
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
      messages that hold only the answer or begin with the prompt). A `margin` above 0 says by how much the better one
      is better; without one it is 1. A `preference`, a soft label, is the probability that the chosen one is the better
      one; without one it is 1, and below 1/2 the rejected one gets the higher grade.
    - `prompt` and `answers`, a list of texts, best first; or in any order with their `grades`, a list of numbers.

    Either may have `reference_log_probs`, a number for each answer (chosen, rejected; or in the order of `answers`),
    and then `reference_tokens` and `reference_model`, a text.

    Raises BadRow, and ConfigError for settings that can't be meant.
    """
    unknown = [key for key in config.fields if key not in OWN]
    if unknown:
        raise ConfigError(
            f"fields maps {unknown[0]!r}, which comparisons don't have (there are: {', '.join(OWN)}); leave it out"
        )
    value = checked(raw, config)
    columns = {own: config.fields.get(own, own) for own in OWN}
    ranking = _list(value, columns, config) if columns["answers"] in value else _pair(value, columns, config)
    if len(set(ranking.answers)) < len(ranking.answers):
        raise BadRow("chosen and rejected are equal" if columns["answers"] not in value else "two answers are equal")
    if len(set(ranking.grades)) == 1:
        raise BadRow("all grades are equal: nothing is better than the rest")
    if columns["reference_log_probs"] not in value:
        return ranking
    asked = {
        own: _numbers(value.get(columns[own]), own, len(ranking.answers))
        for own in ("reference_log_probs", "reference_tokens")
    }
    model = value.get(columns["reference_model"])
    return replace(ranking, **asked, reference_model=None if model is None else _text(model, "reference_model"))


def _list(value: dict[str, Any], columns: dict[str, str], config: DatasetConfig) -> Ranking:
    prompt, answers, grades = prompt_of(value, config), value[columns["answers"]], value.get(columns["grades"])
    if prompt is None:
        raise BadRow("answers without a prompt")
    if value.get(columns["preference"]) is not None:
        raise BadRow("a preference is for two answers, chosen and rejected, and this row has a list of them")
    if not isinstance(answers, list) or len(answers) < 2:
        raise BadRow(
            f"answers is {kind(answers)}{' of fewer than two' * isinstance(answers, list)}, not a list of two or more "
            "texts"
        )
    texts = tuple(_text(answer, f"answer {number}") for number, answer in enumerate(answers, start=1))
    if grades is None and "grades" not in config.fields:
        return Ranking(prompt, texts, tuple(float(len(texts) - 1 - place) for place in range(len(texts))))
    return Ranking(prompt, texts, _numbers(grades, "grades", len(texts)))


def _pair(value: dict[str, Any], columns: dict[str, str], config: DatasetConfig) -> Ranking:
    found = []
    for name in ("chosen", "rejected"):
        if columns[name] not in value:
            raise no_column(value, columns[name], columns["answers"])
        found.append((name, value[columns[name]]))
    margin, preference = _margin(value, columns, config), _preference(value, columns, config)
    grades = (margin, 0.0) if preference >= 0.5 else (0.0, margin)
    sure = max(preference, 1 - preference)
    prompt = prompt_of(value, config)
    if prompt is not None:
        return Ranking(prompt, tuple(answer_to(prompt, turns, name) for name, turns in found), grades, sure)
    (before, chosen), (other, rejected) = (_split(turns, name) for name, turns in found)
    if before != other:
        raise BadRow("chosen and rejected share no prompt: they differ before the last assistant turn")
    return Ranking(
        before, (chosen, rejected), grades, sure, from_dialogues=all(isinstance(turns, str) for _, turns in found)
    )


def _split(turns: Any, name: str) -> tuple[list[Message], str]:
    """A whole dialogue's prompt and its last assistant turn."""
    messages = _turns(turns, name)
    if messages[-1]["role"] != "assistant":
        raise BadRow(f"{name} does not end in an assistant turn")
    if len(messages) == 1:
        raise BadRow(f"{name} has no prompt before the answer")
    return messages[:-1], messages[-1]["content"]


def answer_to(prompt: str | list[Message], turns: Any, name: str) -> str:
    if not isinstance(turns, list):
        return _text(turns, name)
    messages = _turns(turns, name)
    before = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    if messages[-1]["role"] != "assistant" or messages[:-1] not in ([], before):
        raise BadRow(f"{name} holds other messages than one assistant turn (or the prompt and one)")
    return messages[-1]["content"]


def _turns(turns: Any, name: str) -> list[Message]:
    try:
        return turns_of(turns)
    except BadRow as error:
        raise BadRow(f"{name}: {error}") from error


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise BadRow(f"{name} is {kind(value)}, not text")
    if not value.strip():
        raise BadRow(f"{name} is empty")
    return value


def _margin(value: dict[str, Any], columns: dict[str, str], config: DatasetConfig) -> float:
    margin = value.get(columns["margin"])
    if margin is None and "margin" not in config.fields:
        return 1.0
    number = _number(margin, "the margin")
    if number <= 0:
        raise BadRow(f"the margin is {number:g}: the chosen answer is not the better one")
    return number


def _preference(value: dict[str, Any], columns: dict[str, str], config: DatasetConfig) -> float:
    preference = value.get(columns["preference"])
    if preference is None and "preference" not in config.fields:
        return 1.0
    number = _number(preference, "the preference")
    if not 0 <= number <= 1:
        raise BadRow(f"the preference is {number:g}, not a probability from 0 to 1")
    return number


def _numbers(values: Any, name: str, count: int) -> tuple[float, ...]:
    if not isinstance(values, list) or len(values) != count:
        raise BadRow(f"{name} is not a list of {count} numbers, one for each answer")
    one = "grade" if name == "grades" else f"{name}:"
    return tuple(_number(value, f"{one} {number}") for number, value in enumerate(values, start=1))


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadRow(f"{name} is {kind(value)}, not a number")
    if not abs(value) <= LARGEST:  # NaN too
        raise BadRow(f"{name} is not a finite number")
    return float(value)
