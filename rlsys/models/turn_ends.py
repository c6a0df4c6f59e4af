"""Which tokens end an assistant's turn, as the chat template of a tokenizer writes it: training teaches to end with
them, and samplers stop at them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # importing transformers takes seconds, and a configuration check needs none of it
    from transformers import PreTrainedTokenizerBase

MARK = "Yes7319"
"""What the assistant says last, in words that no template has."""
CALL_ID = "abcdefghi"
"""Mistral's templates take nine characters, no more and no less."""
USER = {"role": "user", "content": "Really?"}
ANSWER = {"role": "assistant", "content": MARK}
CALLS = [
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": CALL_ID, "type": "function", "function": {"name": "look_up", "arguments": arguments}}],
    }
    for arguments in ({"word": MARK}, f'{{"word": "{MARK}"}}')
]
"""Templates take a call's arguments as an object, or as JSON."""
RESULT = {"role": "tool", "name": "look_up", "tool_call_id": CALL_ID, "content": "Found."}


def turn_end_ids(tokenizer: PreTrainedTokenizerBase, templated: bool) -> tuple[int, ...]:
    """Ids of the tokens after which an assistant's turn is over: the tokenizer's EOS, and where prompts are `templated`
    also what the chat template writes after an answer and after the call of a tool.

    An end that a template writes only where the dialogue goes on is none: gpt-oss writes `<|end|>` between turns, but
    also between its thoughts and its answer.
    """
    eos: Any = tokenizer.eos_token_id
    ends: list[int] = [eos]
    if templated:
        ends += _new_end(tokenizer, ends, [USER, ANSWER], USER)
        for call in CALLS:
            ends += _new_end(tokenizer, ends, [USER, call], RESULT)
    return tuple(ends)


def turn_end_problem(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Why no sampler could stop where the chat template ends an answer; None where it could."""
    tail = _after_mark(tokenizer, [USER, ANSWER])
    if tail is None or not tail.strip() or _first(_tokens(tokenizer, tail), tokenizer) is not None:
        return None
    return (
        f"the chat template of {tokenizer.name_or_path!r} ends an assistant's turn with the text {tail.strip()!r}, "
        "which is no token of the tokenizer, so no sampler can stop there; add it to the tokenizer as a special token, "
        "end the turn with eos_token, or set chat_template: never"
    )


def special_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Ids of all special tokens. `all_special_ids` lacks those without a role, such as `<|eot_id|>` of the Llama 3 base
    models."""
    marked = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    unk: Any = tokenizer.unk_token_id  # stands for any text
    unknown = {unk} if unk != tokenizer.eos_token_id else set[int]()
    return frozenset(marked.union(tokenizer.all_special_ids) - unknown)


def _new_end(tokenizer: Any, known: Sequence[int], turns: list[dict[str, Any]], reply: dict[str, Any]) -> list[int]:
    """What ends the last of `turns`, in a list; an empty one where nothing does, or one of `known`. What also stands
    there when `reply` follows belongs to the turn, the rest to the end of the dialogue: Phi-3 ends turns with `<|end|>`
    and dialogues with its EOS."""
    last, inner = _after_mark(tokenizer, turns), _after_mark(tokenizer, [*turns, reply])
    if last is None:
        return []
    ids = _tokens(tokenizer, last)
    both = zip(ids, _tokens(tokenizer, inner or ""), strict=False)
    common = [one for one, _ in takewhile(lambda pair: pair[0] == pair[1], both)]
    ids = ids if _first(common, tokenizer) is None else common
    end = _first(ids, tokenizer)
    return [] if end is None or set(known) & set(ids) else [end]


def _after_mark(tokenizer: Any, turns: list[dict[str, Any]]) -> str | None:
    """The text after the mark; None where the template can't render these turns, or leaves the mark out: then it
    teaches no end of them."""
    import jinja2  # comes with transformers

    faults = (jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False)
    except faults:  # templates are programs
        return None
    _, mark, tail = text.rpartition(MARK)
    return tail if mark else None


def _tokens(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _first(ids: Sequence[int], tokenizer: Any) -> int | None:
    """The first special token; where there is none, the first that was added to the vocabulary."""
    specials, added = special_ids(tokenizer), tokenizer.added_tokens_decoder
    return next((i for i in ids if i in specials), next((i for i in ids if i in added), None))
