"""The Python program of an answer: what it shows in a fence, or the answer itself, after what it is to go on from."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rlsys.answers.place import after_thinking

FENCE = re.compile(
    r"^(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,})[ \t]*(?P<language>[\w+#.-]*)[^\n`]*\n"
    r"(?P<code>.*?)(?:^[ \t]*(?P=fence)[ \t]*$|\Z)",
    re.MULTILINE | re.DOTALL,
)
FENCE_LINE = re.compile(r"^[ \t]*(?:`{3,}|~{3,})", re.MULTILINE)
LANGUAGES = ("", "python", "python3", "py")
STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
"""Where a completion of a function ends: Chen et al. 2021 (arXiv 2107.03374), section 2.2."""


def program_of(response: str, asked: str, setup: str, stops: Sequence[str] = STOPS) -> str | None:
    """None where the answer has no program.

    The last fence in Python counts (or one that names no language; one that is not closed, if there is no other), else
    all of the answer. `setup` is code that comes before it. Where the code begins with an indented line, it goes on
    with the function that `setup` begins, as completions of HumanEval's prompts do; without a fence it then ends before
    the first of `stops`. `asked` is the prompt, which may have opened the fence, or a thought.
    """
    text = after_thinking(response, asked)
    if text is None:
        return None
    if len(FENCE_LINE.findall(asked)) % 2:
        text = f"```\n{text}"
    fenced = [match for match in FENCE.finditer(text) if match["language"].lower() in LANGUAGES]
    if fenced:
        code = _without(fenced[-1]["indent"], fenced[-1]["code"])
    elif FENCE_LINE.search(text):
        return None
    else:
        code = _cut(text, stops) if _goes_on(text, setup) else text
    if not code.strip():
        return None
    between = "" if not setup or setup.endswith("\n") or code.startswith("\n") else "\n"
    return f"{setup}{between}{code}"


def _goes_on(code: str, setup: str) -> bool:
    first = next((line for line in code.splitlines() if line.strip()), "")
    return bool(setup) and first[:1].isspace()


def _cut(text: str, stops: Sequence[str]) -> str:
    return text[: min((place for stop in stops if (place := text.find(stop)) >= 0), default=len(text))]


def _without(indent: str, code: str) -> str:
    """Lines of a fence in a list are indented as the fence is."""
    return "".join(line.removeprefix(indent) for line in code.splitlines(keepends=True))
