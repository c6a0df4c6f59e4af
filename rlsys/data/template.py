"""What a tokenizer's chat template makes of messages: text, where each turn of the assistant is in it, and whether all
that the messages say is shown."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rlsys.data.messages import Message
from rlsys.data.raw import BadRow
from rlsys.errors import ConfigError
from rlsys.models.turn_ends import turn_end_ids

if TYPE_CHECKING:  # importing transformers takes seconds, and a configuration check needs none of it
    from transformers import PreTrainedTokenizerBase

Tools = Sequence[Any] | None
"""Schemas of the functions that may be called."""
GENERATION_MARK = re.compile(r"\{%-?\s*generation\s*-?%\}")
PROBE = "zq{}qz"
"""Stands for a turn's text where only its place matters."""
ASKED: Message = {"role": "user", "content": PROBE.format(0)}
CALL = {"id": "call00001", "type": "function", "function": {"name": "f", "arguments": {"k": "v"}}}


@dataclass(frozen=True)
class Turn:
    """A turn of the assistant, as a sample would go on from the prompt before it."""

    text: str
    """The prompt and the turn, and what the template puts behind a dialogue that ends there."""
    start: int
    """The turn's first character."""
    end: int
    """The one after its last."""
    ended: bool
    """Whether it ends in a special token."""

    @property
    def through(self) -> str:
        return self.text[: self.end]

    def among(self, places: Sequence[tuple[int, int]], text: str) -> range:
        """Which of the text's tokens are the turn's, by the first character of each and the one after its last. Special
        tokens may swallow the white space behind them; a token that is otherwise shared with what follows is not the
        turn's."""
        first, after = bisect_left(places, (self.start, 0)), bisect_left(places, (self.end, 0))
        while after > first and text[self.end : places[after - 1][1]].strip():
            after -= 1
        return range(first, after)


@dataclass(frozen=True)
class Template:
    tokenizer: PreTrainedTokenizerBase
    hidden: dict[Any, list[int]] = field(default_factory=dict, repr=False, compare=False)
    """Of each sequence of roles and keys that was seen, the turns whose text is not shown."""

    @classmethod
    def create(cls, tokenizer: PreTrainedTokenizerBase) -> Template:
        """Raises ConfigError for several templates without a default one."""
        try:
            tokenizer.get_chat_template()
        except ValueError as error:
            raise ConfigError(
                f"the tokenizer {tokenizer.name_or_path!r} has several chat templates: {error}"
            ) from error
        return cls(tokenizer)

    def render(self, messages: Sequence[Message], tools: Tools = None, ask: bool = False) -> str:
        """The text; with `ask`, up to where the assistant's answer begins. Raises BadRow when the template refuses
        it."""
        return self._apply([*map(self._given, messages)], tools, tokenize=False, add_generation_prompt=ask)

    def tokens(self, messages: Sequence[Message], tools: Tools) -> tuple[list[int], list[tuple[int, int]], list[int]]:
        """Of each token its id, its place in the text, and whether it is marked as the assistant's ({% generation %}):
        1 on all tokens if the template marks nothing."""
        marks = bool(GENERATION_MARK.search(self.tokenizer.get_chat_template(tools=tools)))  # type: ignore[arg-type]
        places = {"return_dict": True, "tokenizer_kwargs": {"return_offsets_mapping": True}}
        given = [*map(self._given, messages)]
        out = self._apply(given, tools, return_assistant_tokens_mask=marks, **places)
        ids = list(out["input_ids"])
        return ids, out["offset_mapping"], out["assistant_masks"] if marks else [1] * len(ids)

    def turn(self, messages: Sequence[Message], index: int, tools: Tools, name: str) -> Turn:
        """The turn of this index. Raises BadRow when it does not go on from what a sample goes on from, or is not all
        shown."""
        if index == 0:
            raise BadRow(f"{name}: nobody speaks before it, so no prompt leads to it")
        before, text = self.render(messages[:index], tools, ask=True), self.render(messages[: index + 1], tools)
        if not text.startswith(before):
            raise BadRow(f"{name}: a sample goes on from {before[-20:]!r} in the chat template, and this turn does not")
        end, ended = self._end(text, len(before))
        if _squeezed(messages[index]["content"]) not in _squeezed(text[len(before) : end]):
            raise BadRow(f"{name}: the chat template leaves out or changes a part of its text")
        return Turn(text, len(before), end, ended)

    def without_end(self, text: str) -> str:
        """An answer without what ends a turn, which the template adds."""
        return without_end(text, [str(self.tokenizer.eos_token), *self.ends])

    def check_shown(self, messages: Sequence[Message], tools: Tools, names: Sequence[str]) -> None:
        """Raises BadRow, by the turn's name and the key, for what the messages say and the template does not show. What
        a turn of the assistant says counts as shown if it is shown while the turn is the last one: templates leave out
        earlier thinking, from what a sample goes on from, too."""
        if tools is not None:
            self._check_tools(messages, tools)
        for index, message in enumerate(messages):
            for key in [key for key in message if key not in ("role", "content", "weight")]:
                bare = [*messages[:index], {name: value for name, value in message.items() if name != key}]
                if self._same(messages[: index + 1], bare, tools) and not _is_told_by_order(messages, index, key):
                    raise BadRow(
                        f"{names[index]}: the chat template does not show its {key!r}; data.*.ignore: [messages.{key}] "
                        f"leaves that out of all rows"
                    )
        for index in self._hidden(messages, tools):
            raise BadRow(f"{names[index]}: the chat template does not show its text")

    def _check_tools(self, messages: Sequence[Message], tools: Sequence[Any]) -> None:
        text = self.render(messages, tools)
        own = [tool.get("function", tool) for tool in tools]
        names = [function.get("name") if isinstance(function, dict) else None for function in own]
        missing = [name for name in names if str(name) not in text]
        if missing or text == self.render(messages):
            raise BadRow(f"the chat template does not show the row's tools{f' ({missing[0]})' if missing else ''}")

    def _same(self, messages: Sequence[Message], others: Sequence[Message], tools: Tools) -> bool:
        ask = messages[-1]["role"] != "assistant"
        text = self.render(messages, tools, ask)
        try:
            return text == self.render(others, tools, ask)
        except BadRow:  # it needs what the others lack
            return False

    def _hidden(self, messages: Sequence[Message], tools: Tools) -> list[int]:
        shape = tuple((turn["role"], bool(turn["content"]), *sorted(turn)) for turn in messages), tools is None
        if shape not in self.hidden:
            probes = [turn["content"] and PROBE.format(index) for index, turn in enumerate(messages)]
            told = [{**turn, "content": probe} for turn, probe in zip(messages, probes, strict=True)]
            text = self.render(told, tools, ask=messages[-1]["role"] != "assistant")
            self.hidden[shape] = [index for index, probe in enumerate(probes) if probe not in text]
        return self.hidden[shape]

    def _apply(self, messages: list[Message], tools: Tools = None, **options: Any) -> Any:
        try:
            return self.tokenizer.apply_chat_template(messages, tools=tools, **options)  # type: ignore[arg-type]
        except Exception as error:  # a template is a program of someone else's, and may raise anything
            reason = next(iter(str(error).splitlines()), "") or type(error).__name__
            raise BadRow(f"the chat template refuses it: {reason}") from error

    def _given(self, turn: Message) -> Message:
        given = {key: value for key, value in turn.items() if key != "weight"}
        if "tool_calls" in turn and self._wants_json:
            given["tool_calls"] = [_in_json(call) for call in turn["tool_calls"]]
        return given

    @cached_property
    def _wants_json(self) -> bool:
        """Whether arguments of tool calls must be given as JSON: as objects they come out as Python writes them, or not
        at all."""
        for call, is_json in ((CALL, False), (_in_json(CALL), True)):
            try:
                text = self._apply([ASKED, {"role": "assistant", "content": "", "tool_calls": [call]}], tokenize=False)
            except BadRow:
                continue
            if "'k'" not in text and r"\"k\"" not in text:
                return is_json
        return False

    @cached_property
    def specials(self) -> list[str]:
        """Special tokens, those that no setting names included; longest first."""
        known = {str(token) for token in self.tokenizer.added_tokens_decoder.values() if token.special}
        return sorted({*known, *self.tokenizer.all_special_tokens, *self.ends}, key=len, reverse=True)

    @cached_property
    def ends(self) -> list[str]:
        """The tokens that may end a turn of the assistant, at each of which a sampler stops."""
        return [str(self.tokenizer.decode([token])) for token in turn_end_ids(self.tokenizer, templated=True)]

    def _end(self, text: str, start: int) -> tuple[int, bool]:
        """Where the turn that begins at `start` ends, and whether a token at which samplers stop ends it. Of several at
        the end of the text (Phi-3 closes a dialogue by a second one) the template's own end of a turn is meant. Where
        none of them stops a sampler, the turn counts as not ended, and EOS is taught after it."""
        found, end = [], len(text)
        while True:
            end = start + len(text[start:end].rstrip())
            last = next((token for token in self.specials if text.endswith(token, start, end)), None)
            if last is None:
                break
            found.append((end, last))
            end -= len(last)
        own = [end for end, token in found if token in self.ends]
        if own:
            return own[-1], True
        return found[0][0] if found else len(text), False


def without_end(text: str, ends: Sequence[str]) -> str:
    """The text without those of the `ends` that it brings itself, and white space behind them."""
    bare = text.rstrip()
    end = next((end for end in ends if bare.endswith(end)), None)
    return text if end is None else without_end(bare.removesuffix(end), ends)


def _squeezed(text: str) -> str:
    """Without white space, which templates add and take away."""
    return "".join(text.split())


def _in_json(call: Message) -> Message:
    function = call["function"]
    return {**call, "function": {**function, "arguments": json.dumps(function["arguments"], ensure_ascii=False)}}


def _is_told_by_order(messages: Sequence[Message], index: int, key: str) -> bool:
    """Whether it only says which call a tool's result answers, and the results come in the order of the calls."""
    if messages[index]["role"] != "tool" or key not in ("tool_call_id", "name"):
        return False
    first = next((place + 1 for place in range(index - 1, -1, -1) if messages[place]["role"] != "tool"), 0)
    calls = messages[first - 1].get("tool_calls", [])[index - first :] if first else []
    if not calls:
        return False
    return messages[index][key] == (calls[0].get("id") if key == "tool_call_id" else calls[0]["function"]["name"])
