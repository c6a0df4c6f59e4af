"""`rlsys chat`: talk to a model. One without a chat template goes on with each text by itself."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator

from rlsys.commands.sample_text import printable
from rlsys.commands.sampler import Sampler
from rlsys.data.messages import Message
from rlsys.errors import ConfigError
from rlsys.roles import Spawn

QUIT, NEW = "/quit", "/new"
HOW = f"{QUIT} (or the end of the input) ends, {NEW} forgets what was said"


def typed() -> Iterator[str]:
    """Lines of the standard input; a person sees where to type."""
    prompt = "> " if sys.stdin.isatty() else ""
    while True:
        try:
            yield input(prompt)
        except EOFError:
            return


def chat(
    sampler: Sampler, lines: Iterable[str], spawn: Spawn, say: Callable[[str], None], note: Callable[[str], None]
) -> None:
    """`lines` are what the person types, `say` takes what the model answers, `note` everything else."""
    templated = sampler.renderer.template is not None
    note(f"starting {sampler.name}")
    with sampler.started(spawn) as rollout:
        note(f"{sampler.name} {'answers' if templated else 'goes on with each text by itself'}; {HOW}")
        turns: list[Message] = []
        for number, line in enumerate(lines):
            text = line.strip()
            if text == QUIT:
                return
            if text == NEW:
                turns = []
            elif text:
                asked: list[Message] = [*turns, {"role": "user", "content": text}]
                try:
                    prompt = sampler.prompt(str(number), asked if templated else line)
                except ConfigError as error:
                    note(f"{error}; or {NEW} begins anew")
                    continue
                ((answer,),) = sampler.answers(rollout, [prompt], 1, "chat")
                turns = [*asked, {"role": "assistant", "content": answer.text}]
                say(printable(answer.text))
                if answer.finish_reason == "length":
                    note(f"(cut off after {answer.response_length} tokens: --max-tokens)")
