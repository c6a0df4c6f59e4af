"""The constitution in the JSON files of the paper's authors (Bai et al. 2022): one folder, requests and dialogues as
texts with headings in them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rlsys.config.messages import explain_error
from rlsys.config.schema import dotted
from rlsys.errors import ConfigError
from rlsys.judging.asking.constitution import Constitution, Example, Principle

CRITIQUES = "CritiqueRevisionInstructions.json"
"""{id: {prompt: [critique request], edit_request: revision request}}"""
COMPARISONS = "RLMadisonInstructions.json"
"""[comparison question]"""
EXAMPLES = "CritiqueRevisionFewShotPrompts.json"
"""[dialogue, with critique and revision]"""

SPEAKERS = {"Human": "user", "Assistant": "assistant"}
WORK = ("CritiqueRequest", "Critique", "RevisionRequest", "Revision")
HEADING = re.compile(rf"\n\n({'|'.join((*SPEAKERS, *WORK))}):")


def read_folder(folder: Path) -> Constitution:
    """Each pair of a critique and a revision request becomes a principle of that id, each comparison question one named
    comparison0, comparison1, ...; the dialogues become examples. Headings and white space are taken off. Raises
    ConfigError: neither file of requests, or another format."""
    principles = []
    if (file := folder / CRITIQUES).is_file():
        principles += _critiques(file)
    if (file := folder / COMPARISONS).is_file():
        principles += _comparisons(file)
    if not principles:
        raise ConfigError(
            f"{folder}: wanted {CRITIQUES} or {COMPARISONS} with at least one request in this folder; or give a YAML "
            "file"
        )
    examples = _examples(folder / EXAMPLES) if (folder / EXAMPLES).is_file() else ()
    try:
        return Constitution(name=folder.resolve().name, principles=tuple(principles), examples=tuple(examples))
    except ValidationError as error:
        raise ConfigError(f"{folder}: {error.errors()[0]['msg']}") from error


def _critiques(file: Path) -> list[Principle]:
    data = _json(file)
    if not isinstance(data, dict):
        raise ConfigError(f"{file}: wanted {{id: {{prompt: [text], edit_request: text}}}}, got a {type(data).__name__}")
    found = []
    for name, entry in data.items():
        match entry:
            case {"prompt": [str(critique)], "edit_request": str(revision)}:
                found.append(
                    _principle(file, name, critique=_bare(critique, *WORK[:2]), revision=_bare(revision, *WORK[2:]))
                )
            case _:
                raise ConfigError(
                    f"{file}: {name}: wanted {{prompt: [text], edit_request: text}}, got {json.dumps(entry):.80}"
                )
    return found


def _comparisons(file: Path) -> list[Principle]:
    data = _json(file)
    if not isinstance(data, list):
        raise ConfigError(f"{file}: wanted a list of questions, got a {type(data).__name__}")
    for index, question in enumerate(data):
        if not isinstance(question, str):
            raise ConfigError(f"{file}: item {index}: wanted a question as text, got {json.dumps(question):.80}")
    return [
        _principle(file, f"comparison{index}", comparison=_bare(question, "", "Options"))
        for index, question in enumerate(data)
    ]


def _principle(file: Path, name: str, **texts: str) -> Principle:
    try:
        return Principle(id=name, **texts)  # type: ignore[arg-type]
    except ValidationError as error:
        problem = explain_error(Principle, error.errors()[0], {"id": name, **texts}, ())
        raise ConfigError(f"{file}: {name}: {dotted(problem.key)}: {problem.message}") from error


def _bare(text: str, before: str, after: str) -> str:
    """A request's own words, without the heading before it and the one that the judge was to write after."""
    return text.strip().removeprefix(f"{before}:").removesuffix(f"{after}:").strip()


def _examples(file: Path) -> list[Example]:
    data = _json(file)
    if not isinstance(data, list):
        raise ConfigError(f"{file}: wanted a list of dialogues, got a {type(data).__name__}")
    return [_example(text, f"{file}: item {index}") for index, text in enumerate(data)]


def _example(text: Any, where: str) -> Example:
    """A dialogue that ends in the four headings of critique and revision; the heading of the next one (nothing after
    it) may follow."""
    if not isinstance(text, str):
        raise ConfigError(f"{where}: wanted a dialogue as text, got {json.dumps(text):.80}")
    before, *rest = HEADING.split(text)
    parts = [(heading, words.strip()) for heading, words in zip(rest[::2], rest[1::2], strict=True)]
    if parts and parts[-1] == ("Human", ""):
        parts.pop()
    turns, work = parts[:-4], dict(parts[-4:])
    speakers = [heading for heading, _ in turns]
    whole = not before.strip() and tuple(work) == WORK and speakers and all(words for _, words in parts)
    if not whole or speakers != ["Human", "Assistant"] * (len(turns) // 2):
        raise ConfigError(
            f"{where}: wanted Human: and Assistant: in turn, then {': '.join(WORK)}: (each after an empty line)"
        )
    messages = tuple({"role": SPEAKERS[heading], "content": words} for heading, words in turns[:-1])
    return Example(
        prompt=messages[0]["content"] if len(messages) == 1 else messages,
        answer=turns[-1][1],
        critique_request=work["CritiqueRequest"],
        critique=work["Critique"],
        revision_request=work["RevisionRequest"],
        revision=work["Revision"],
    )


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ConfigError(f"{file}:{error.lineno}: not valid JSON: {error.msg}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: can't be read as text: {error}") from error
