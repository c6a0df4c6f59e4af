"""The words around questions: templates with placeholders, from a YAML file."""

from __future__ import annotations

import re
import string
from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator

from rlsys.config.base import Model
from rlsys.config.document import load_as
from rlsys.judging.asking.constitution_files import named_path

FOLDER = Path(__file__).parents[1] / "templates"

PLACEHOLDERS: dict[str, tuple[str, str]] = {
    "fence": ("name text", "kind"),
    "compare": ("conversation first second question task", ""),
    "compare_task": ("", "first second"),
    "compare_decide": ("", "first second"),
    "compare_principle": ("principle", ""),
    "score": ("conversation answer question task", ""),
    "score_task": ("", "max_score"),
    "score_decide": ("", "max_score"),
    "score_principle": ("principle", ""),
    "rubric": ("conversation answer question criteria", "names max_score"),
    "criterion": ("name description", ""),
    "critique": ("conversation answer request", ""),
    "revision": ("conversation answer critique request", ""),
}
"""What each template must hold in braces, and what it may. The other templates hold nothing; a brace of one's own is
doubled everywhere."""


class Words(Model):
    """What stands in a fence's mark to say what it holds."""

    user: str = "user"
    """A turn of the user."""
    assistant: str = "assistant"
    """An earlier turn of the assistant."""
    system: str = "system"
    """The system message of the conversation that is judged."""
    answer: str = "answer"
    """An answer to judge; of two, its label follows."""
    critique: str = "critique"
    """What was found wrong with an answer."""


class Canary(Model):
    """A comparison whose answer is known."""

    prompt: str | tuple[dict[str, str], ...]
    """What both answer: a text, or messages."""
    chosen: str
    """The better answer."""
    rejected: str
    """The worse answer."""
    principle: str | None = None
    """Id of the principle to compare by; none compares in general."""

    @model_validator(mode="after")
    def _one_is_better(self) -> Self:
        if self.chosen == self.rejected:
            raise ValueError("chosen and rejected are the same text: neither is better")
        return self


class Templates(Model):
    """The words around questions. They may be terse: only the placeholders are needed, and an empty `system` sends no
    system message."""

    system: str = ""
    """The system message of every chat."""
    labels: tuple[str, str] = ("A", "B")
    """Of the answer shown first and of the other one: what the judge is to reply, best one token each."""
    fence: str = "[{kind} {name}]\n{text}\n[end {name}]"
    """Around every untrusted text: `name` on both sides of it."""
    name_length: int = Field(default=16, ge=1, le=48)
    """Hex digits of a fence's name (16 are 64 bits)."""
    words: Words = Words()
    """Each fence's `kind`."""
    between: str = "\n"
    """Between the turns of a conversation."""
    compare: str
    """Asks which answer is better."""
    compare_question: str
    """`question` of a comparison in general."""
    compare_principle: str = "{principle}"
    """`question` of a comparison under a principle: its comparison question."""
    compare_task: str
    """`task` where the label is to be said at once."""
    compare_reasons: str
    """`task` where reasons come first."""
    compare_decide: str
    """Asks for the label after the reasons."""
    score: str
    """Asks how good an answer is."""
    score_question: str
    """`question` of a score, and of a rubric, in general."""
    score_principle: str
    """`question` of a score, and of a rubric, under a principle: holds its comparison question."""
    score_task: str
    """`task` where the number is to be said at once."""
    score_reasons: str
    """`task` where reasons come first."""
    score_decide: str
    """Asks for the number after the reasons."""
    rubric: str
    """Asks for one JSON object of scores."""
    criterion: str = "- {name}: {description}\n"
    """One of the `criteria` of a rubric."""
    critique: str
    """Asks what is wrong with an answer."""
    critique_question: str
    """`request` of a critique in general."""
    revision: str
    """Asks for a better answer."""
    revision_question: str
    """`request` of a revision in general."""
    canaries: tuple[Canary, ...] = ()
    """Comparisons of known answer, to watch the judge by."""

    @field_validator("*")
    @classmethod
    def _placeholders(cls, value: object, info) -> object:
        if not isinstance(value, str) or info.field_name in ("system", "between"):
            return value
        needed, allowed = (words.split() for words in PLACEHOLDERS.get(info.field_name, ("", "")))
        try:
            found = [name for _, name, _, _ in string.Formatter().parse(value) if name is not None]
        except ValueError as error:
            raise ValueError(f"{error}; double a brace that is meant as it is: {{{{ or }}}}") from error
        if missing := [name for name in needed if name not in found]:
            raise ValueError(f"lacks {{{missing[0]}}}")
        if unknown := [name for name in found if name not in (*needed, *allowed)]:
            known = ", ".join(f"{{{name}}}" for name in (*needed, *allowed)) or "none"
            raise ValueError(f"has {{{unknown[0]}}}; known here: {known}; double a brace that is meant as it is")
        value.format(**dict.fromkeys(found, "x"))  # a bad format specification is a ValueError too
        return value

    @field_validator("fence")
    @classmethod
    def _name_on_both_sides(cls, value: str) -> str:
        fields = [
            (name, f"{spec}{conversion or ''}")
            for _, name, spec, conversion in string.Formatter().parse(value)
            if name is not None
        ]
        names = [name for name, _ in fields]
        text = names.index("text")
        if names.count("text") > 1 or "name" not in names[:text] or "name" not in names[text + 1 :]:
            raise ValueError(
                "wanted {name} before and after one {text}: it is what tells a fence's end from the same words within "
                "it"
            )
        if not re.fullmatch(r"(<\d+)?", fields[text][1]):
            raise ValueError(
                "wanted {text} as it is, or {text:<20} to fill it up with spaces: it must stand whole within its fence"
            )
        return value

    @model_validator(mode="after")
    def _labels_differ(self) -> Self:
        if not all(label.strip() for label in self.labels) or self.labels[0].strip() == self.labels[1].strip():
            raise ValueError(f"labels: wanted two different words, got {list(self.labels)}")
        return self


def load_templates(name: str) -> Templates:
    """`name`: a file in rlsys/judging/templates, or the path of a YAML file. Raises ConfigError."""
    return load_as(Templates, named_path(FOLDER, name, "templates"))
