"""The one place where rows become tokens: prompts, and demonstrations with the mask of what is trained, by the
tokenizer's chat template or as plain text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

from rlsys.config.dataset import DatasetConfig
from rlsys.data.lengths import check_length
from rlsys.data.messages import Message
from rlsys.data.raw import BadRow
from rlsys.data.template import Template, Tools, Turn, without_end
from rlsys.errors import ConfigError
from rlsys.models.turn_ends import turn_end_problem

if TYPE_CHECKING:  # importing transformers takes seconds, and a configuration check needs none of it
    from transformers import PreTrainedTokenizerBase

Masked = tuple[list[int], list[int]]
"""Token ids and their loss mask, 1 on what is trained; both lists have equal length."""


@dataclass(frozen=True)
class Renderer:
    """Turns prompts and demonstrations into tokens, by the tokenizer's chat template or, without `template`, as plain
    text."""

    tokenizer: PreTrainedTokenizerBase
    template: Template | None
    system_prompt: str | None
    eos_id: int
    most_tokens: int | None = None
    """Of what is certainly longer, TooLong is raised before it is tokenised."""

    @classmethod
    def create(
        cls, config: DatasetConfig, tokenizer: PreTrainedTokenizerBase, most_tokens: int | None = None
    ) -> Renderer:
        """Raises ConfigError when the data set's settings don't fit the tokenizer."""
        has_template, name = bool(tokenizer.chat_template), repr(tokenizer.name_or_path)
        if config.chat_template == "always" and not has_template:
            raise ConfigError(f"{config.path}: chat_template is always, but the tokenizer {name} has no chat template")
        template = Template.create(tokenizer) if uses_template(config, tokenizer) else None
        if template is not None and (problem := turn_end_problem(tokenizer)):
            raise ConfigError(f"{config.path}: {problem}")
        if config.system_prompt is not None and template is None:
            raise ConfigError(
                f"{config.path}: system_prompt needs a chat template, and none is used; put it into the prompts instead"
            )
        if template is not None and not tokenizer.is_fast:
            raise ConfigError(f"the tokenizer {name} is not a fast one: it can't tell which text a token covers")
        eos_id = tokenizer.eos_token_id
        if not isinstance(eos_id, int):
            raise ConfigError(f"the tokenizer {name} has no EOS token: no response could ever end")
        return cls(tokenizer, template, config.system_prompt, eos_id, most_tokens)

    def prompt(self, turns: str | Sequence[Message], tools: Tools = None) -> tuple[str, list[int]]:
        """Exactly what is sent to the sampler, as text and as tokens: everything before the response. Raises BadRow for
        what can't be shown."""
        if isinstance(turns, str) and self.template is None:
            self._check_plain(tools)
            return turns, self._plain_prompt(turns)
        template, (messages, names) = self._template, self._messages(turns)
        text = template.render(messages, tools, ask=True)
        template.check_shown(messages, tools, names)
        return text, self._tokens(text)

    def demonstration(self, prompt: str | Sequence[Message], answer: str | Message, tools: Tools = None) -> Masked:
        """A prompt and its answer, of which only the answer is trained, EOS included (or the end of a turn that the
        chat template has instead). Raises BadRow for what can't be shown."""
        if isinstance(prompt, str) and self.template is None:
            self._check_plain(tools, answer)
            assert isinstance(answer, str)
            before, after = self._plain_prompt(prompt), self._plain_answer(answer)
            return before + after, [0] * len(before) + [1] * len(after)
        said = {"role": "assistant", "content": answer} if isinstance(answer, str) else answer
        before = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        (only,) = self.dialogue([*(_untrained(turn) for turn in before), said], tools)
        return only

    def dialogue(self, turns: Sequence[Message], tools: Tools = None) -> list[Masked]:
        """Demonstrations that train every turn of the assistant once, but those of `weight: 0`, each after exactly what
        a sample would go on from. Nearly always that is one sequence; under a template that renders the last turn in
        another way than earlier ones (Qwen3, gpt-oss) each turn needs its own.

        A turn is what it adds to the prompt before it; where the template marks what the assistant says
        ({% generation %}), of that only what is marked. Each sequence ends in a trained EOS (or the template's own end
        of a turn): what comes after is cut off. Raises BadRow for what can't be shown.
        """
        template, (messages, names) = self._template, self._messages(turns)
        check_length(self.tokenizer, template.render(messages, tools), self.most_tokens)
        template.check_shown(messages, tools, names)
        left = [i for i, turn in enumerate(messages) if turn["role"] == "assistant" and turn.get("weight") != 0]
        if not left:
            raise BadRow("no turn of the assistant is to be trained (weight: 0, train: false)")
        found = {index: template.turn(messages, index, tools, names[index]) for index in left}
        sequences = []
        while left:
            last = left[-1]
            within = [index for index in left if found[last].text.startswith(found[index].through)]
            spans = {names[index]: found[index] for index in within}
            sequences.append(self._masked(messages[: last + 1], tools, spans))
            left = [index for index in left if index not in within]
        return sequences[::-1]

    def _masked(self, messages: Sequence[Message], tools: Tools, turns: dict[str, Turn]) -> Masked:
        """The messages' tokens, of which these turns are trained, through the last of them, which is the last
        message."""
        ids, places, marked = self._template.tokens(messages, tools)
        text, mask, end = [*turns.values()][-1].text, [0] * len(ids), 0
        for name, turn in turns.items():
            within = turn.among(places, text)
            trained = [place for place in within if marked[place]]
            if not trained:
                raise BadRow(f"{name}: the chat template does not mark it as the assistant's, or it has no token")
            for place in [*trained, *within[-1:][: turn.ended]]:
                mask[place], end = 1, place + 1
        if not [*turns.values()][-1].ended:
            return [*ids[:end], self.eos_id], [*mask[:end], 1]
        return ids[:end], mask[:end]

    @property
    def _template(self) -> Template:
        if self.template is None:
            raise ConfigError("messages need a chat template: the tokenizer has none, or chat_template is never")
        return self.template

    def _messages(self, turns: str | Sequence[Message]) -> tuple[list[Message], list[str]]:
        """Messages for the template, and what to call each. System texts at the beginning become one, the config's
        first, with a blank line between; answers lose an end of the turn that they bring themselves."""
        own = [{"role": "user", "content": turns}] if isinstance(turns, str) else turns
        named = [(self._bare(turn), f"turn {number} ({turn['role']})") for number, turn in enumerate(own, start=1)]
        if self.system_prompt is not None:
            named.insert(0, ({"role": "system", "content": self.system_prompt}, "system_prompt"))
        lead = list(takewhile(lambda one: one[0]["role"] == "system" and one[0].keys() == {"role", "content"}, named))
        if len(lead) > 1:
            text = "\n\n".join(turn["content"] for turn, _ in lead)
            named[: len(lead)] = [({"role": "system", "content": text}, " and ".join(name for _, name in lead))]
        for turn, name in named:
            if turn["role"] == "assistant" and not turn["content"].strip() and "tool_calls" not in turn:
                raise BadRow(f"{name} is empty")
        return [turn for turn, _ in named], [name for _, name in named]

    def _bare(self, turn: Message) -> Message:
        if turn["role"] != "assistant":
            return turn
        return {**turn, "content": self._template.without_end(turn["content"])}

    def _check_plain(self, tools: Tools, answer: str | Message | None = None) -> None:
        if tools is not None or isinstance(answer, dict):
            raise BadRow("tools, or an answer that is more than text, need a chat template, and none is used")

    def _plain_prompt(self, text: str) -> list[int]:
        """With one BOS, if the tokenizer adds it or the text has it, without the EOS that some tokenizers add: a prompt
        goes on."""
        check_length(self.tokenizer, text, self.most_tokens)
        ids = list(self.tokenizer(text)["input_ids"])  # type: ignore[arg-type]
        if self.tokenizer.bos_token_id is not None and ids[:2] == [self.tokenizer.bos_token_id] * 2:
            del ids[0]
        return ids[:-1] if ids and ids[-1] == self.eos_id else ids

    def _plain_answer(self, text: str) -> list[int]:
        """With one EOS, whether the text has it or not."""
        bare = without_end(text, [str(self.tokenizer.eos_token)])
        if not bare.strip():
            raise BadRow("the answer is empty")
        return [*self._tokens(bare), self.eos_id]

    def _tokens(self, text: str) -> list[int]:
        check_length(self.tokenizer, text, self.most_tokens)
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])  # type: ignore[arg-type]


def uses_template(config: DatasetConfig, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the rows of a data set are rendered with the chat template."""
    return bool(tokenizer.chat_template) and config.chat_template != "never"


def _untrained(turn: Message) -> Message:
    return {**turn, "weight": 0} if turn["role"] == "assistant" else turn
