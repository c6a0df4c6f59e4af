"""The one place where chat templates are applied: text and tokens of prompts, tokens and assistant masks of
demonstrations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rlsys.config.dataset import DatasetConfig
from rlsys.data.lengths import check_length
from rlsys.data.messages import Message
from rlsys.data.raw import BadRow
from rlsys.errors import ConfigError
from rlsys.models.turn_ends import special_ids, turn_end_ids, turn_end_problem

if TYPE_CHECKING:  # importing transformers takes seconds, and a configuration check needs none of it
    from transformers import PreTrainedTokenizerBase

Tools = Sequence[Any] | None
"""Schemas of the functions that may be called, which go to the template."""
GENERATION_MARK = re.compile(r"\{%-?\s*generation\s*-?%\}")


@dataclass(frozen=True)
class Renderer:
    """Turns prompts and demonstrations into tokens, with the tokenizer's chat template (`templated`) or as plain
    text."""

    tokenizer: PreTrainedTokenizerBase
    templated: bool
    system_prompt: str | None
    eos_id: int
    most_tokens: int | None = None
    """Of what is certainly longer, TooLong is raised before it is tokenised."""

    @classmethod
    def create(
        cls, config: DatasetConfig, tokenizer: PreTrainedTokenizerBase, most_tokens: int | None = None
    ) -> Renderer:
        """Raises ConfigError when the data set's settings don't fit the tokenizer."""
        has_template = bool(tokenizer.chat_template)
        if config.chat_template == "always" and not has_template:
            raise ConfigError(
                f"{config.path}: chat_template is always, but the tokenizer {tokenizer.name_or_path!r} has no chat "
                "template"
            )
        templated = uses_template(config, tokenizer)
        if templated and (problem := turn_end_problem(tokenizer)):
            raise ConfigError(f"{config.path}: {problem}")
        if config.system_prompt is not None and not templated:
            raise ConfigError(
                f"{config.path}: system_prompt needs a chat template, and none is used; put it into the prompts instead"
            )
        eos_id = tokenizer.eos_token_id
        if not isinstance(eos_id, int):
            raise ConfigError(f"the tokenizer {tokenizer.name_or_path!r} has no EOS token: no response could ever end")
        return cls(tokenizer, templated, config.system_prompt, eos_id, most_tokens)

    @cached_property
    def ends(self) -> frozenset[int]:
        """What may end an assistant's turn; samplers stop at each of them."""
        return frozenset(turn_end_ids(self.tokenizer, self.templated))

    @cached_property
    def specials(self) -> frozenset[int]:
        return special_ids(self.tokenizer)

    def prompt(self, turns: str | Sequence[Message], tools: Tools = None) -> tuple[str, list[int]]:
        """Exactly what is sent to the sampler, as text and as tokens: everything before the response."""
        if isinstance(turns, str) and not self.templated:
            self._plain_only(tools)
            return turns, self._plain_prompt(turns)
        messages = self._messages(turns)
        self._check_shown(messages, tools)
        text = self._render(messages, tools, add_generation_prompt=True)
        return text, self._tokens(text)

    def demonstration(
        self, turns: str | Sequence[Message], answer: str | Message | None = None, tools: Tools = None
    ) -> tuple[list[int], list[int]]:
        """Token ids and loss mask (1 on the assistant's tokens and the EOS after them), of a prompt and its answer or
        of whole messages. Of a prompt and its answer only the answer is trained: what the assistant said before it is
        part of the prompt.

        With a template that marks its assistant turns ({% generation %}) the marks are the mask; with another, a turn
        is what it adds to the text before it. Ends in a trained EOS (or the template's own end-of-turn token): what
        comes after is cut off.
        """
        if isinstance(turns, str) and not self.templated:
            assert answer is not None, "a plain prompt needs an answer"
            self._plain_only(tools, answer)
            assert isinstance(answer, str)
            before, after = self._plain_prompt(turns), [*self._tokens(answer), self.eos_id]
            return before + after, [0] * len(before) + [1] * len(after)
        messages = self._messages(turns)
        if answer is not None:
            messages.append({"role": "assistant", "content": answer} if isinstance(answer, str) else answer)
        self._check_shown(messages, tools)
        assert isinstance(self.tokenizer.chat_template, str), "several chat templates: choose one"
        marked = GENERATION_MARK.search(self.tokenizer.chat_template)
        ids, mask = self._close(*(self._marked(messages, tools) if marked else self._by_difference(messages, tools)))
        if answer is None:
            return ids, mask
        before = max((i for i, trained in enumerate(mask) if not trained), default=-1)
        return ids, [0] * (before + 1) + [1] * (len(mask) - before - 1)

    def _messages(self, turns: str | Sequence[Message]) -> list[Message]:
        if not self.templated:
            raise ConfigError("messages need a chat template: the tokenizer has none, or chat_template is never")
        messages = [{"role": "user", "content": turns}] if isinstance(turns, str) else list(turns)
        if self.system_prompt is None:
            return messages
        return [{"role": "system", "content": self.system_prompt}, *messages]

    def _plain_prompt(self, text: str) -> list[int]:
        """With the tokenizer's own BOS, without the EOS that some tokenizers add: a prompt goes on."""
        check_length(self.tokenizer, text, self.most_tokens)
        ids = list(self.tokenizer(text)["input_ids"])  # type: ignore[arg-type]
        return ids[:-1] if ids and ids[-1] == self.eos_id else ids

    def _tokens(self, text: str) -> list[int]:
        check_length(self.tokenizer, text, self.most_tokens)
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])  # type: ignore[arg-type]

    def _plain_only(self, tools: Tools, answer: str | Message | None = None) -> None:
        if tools is not None or isinstance(answer, dict):
            raise BadRow("tools, or an answer that is more than text, need a chat template, and none is used")

    def _check_shown(self, messages: list[Message], tools: Tools) -> None:
        if tools is not None and self._render(messages, tools) == self._render(messages):
            raise BadRow("the chat template does not show the row's tools")

    def _render(self, messages: list[Message], tools: Tools = None, add_generation_prompt: bool = False) -> str:
        return self._apply(messages, tokenize=False, tools=tools, add_generation_prompt=add_generation_prompt)

    def _marked(self, messages: list[Message], tools: Tools) -> tuple[list[int], list[int]]:
        check_length(self.tokenizer, self._render(messages, tools), self.most_tokens)
        out = self._apply(messages, tools=tools, return_assistant_tokens_mask=True, return_dict=True)
        return list(out["input_ids"]), list(out["assistant_masks"])

    def _apply(self, messages: list[Message], **options: Any) -> Any:
        import jinja2  # comes with transformers

        try:
            return self.tokenizer.apply_chat_template(messages, **options)
        except jinja2.TemplateError as error:  # templates refuse what they don't know, such as a system turn
            raise BadRow(f"the chat template refuses it: {error}") from error

    def _by_difference(self, messages: list[Message], tools: Tools) -> tuple[list[int], list[int]]:
        """Raises ConfigError when a turn is not simply added to the text before it: then nobody knows which tokens are
        the assistant's."""
        whole = self._render(messages, tools)
        check_length(self.tokenizer, whole, self.most_tokens)
        spans = []
        for index, message in enumerate(messages):
            if message["role"] == "assistant":
                before = self._render(messages[:index], tools, add_generation_prompt=True)
                through = self._render(messages[: index + 1], tools)
                if not (through.startswith(before) and whole.startswith(through)):
                    raise ConfigError(
                        f"the chat template of {self.tokenizer.name_or_path!r} has no {{% generation %}} marks and "
                        "does not simply add each turn to "
                        "the text before it, so the assistant's tokens can't be told apart; add the marks to it, or "
                        "set chat_template: never"
                    )
                spans.append((len(before), len(through)))
        if not self.tokenizer.is_fast:
            raise ConfigError(
                f"the tokenizer {self.tokenizer.name_or_path!r} is not a fast one: it can't tell which text a token "
                "covers"
            )
        out: Any = self.tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
        mask = [
            int(any(a <= start and end <= b for a, b in spans) and end > start) for start, end in out["offset_mapping"]
        ]
        return list(out["input_ids"]), mask

    def _close(self, ids: list[int], mask: list[int]) -> tuple[list[int], list[int]]:
        """Make every assistant turn end in its end-of-turn token, trained, and nothing after it trained. What a
        template puts in its place inside a dialogue alone (gpt-oss does) is not trained: a sampler would go on after
        it."""
        mask, position = list(mask), 0
        for trained, run in groupby(list(mask)):
            end = (start := position) + len(list(run))
            position = end
            if not trained:
                continue
            tail = end  # special tokens and white space behind what was said
            while tail > start and (ids[tail - 1] in self.specials | self.ends or not self._says(ids[tail - 1])):
                tail -= 1
            if found := [i for i in range(tail, end) if ids[i] in self.ends]:
                mask[found[0] + 1 : end] = [0] * (end - found[0] - 1)
            elif end < len(ids) and ids[end] in self.ends:  # the template's mark stops short of it
                mask[end] = 1
            elif others := [i for i in range(tail, end) if ids[i] in self.specials]:
                mask[others[0] : end] = [0] * (end - others[0])
        length = max((i + 1 for i, trained in enumerate(mask) if trained), default=0)
        ids, mask = ids[:length], mask[:length]
        if ids and ids[-1] not in self.ends:
            return [*ids, self.eos_id], [*mask, 1]
        return ids, mask

    def _says(self, token_id: int) -> bool:
        return bool(str(self.tokenizer.decode([token_id])).strip())


def uses_template(config: DatasetConfig, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the rows of a data set are rendered with the chat template."""
    return bool(tokenizer.chat_template) and config.chat_template != "never"
