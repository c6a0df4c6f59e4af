"""A constitution: the principles that a judge compares, critiques and revises by (Bai et al. 2022, arXiv
2212.08073)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Literal, Self

from pydantic import Field, PositiveFloat, ValidationError, field_validator, model_validator

from rlsys.config.base import Model
from rlsys.errors import ConfigError, did_you_mean
from rlsys.samples import stable_seed

Use = Literal["critique", "comparison"]


class Principle(Model):
    id: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    """Its name in ledgers and reports."""
    critique: str | None = None
    """The request for a critique; none where it is not for critiques."""
    revision: str | None = None
    """The request for a revision that follows the critique."""
    comparison: str | None = None
    """The question that two answers are compared by; none where it is not for comparisons."""
    weight: PositiveFloat = Field(default=1.0, allow_inf_nan=False)
    """It is drawn with a probability proportional to this."""
    tags: tuple[str, ...] = ()
    """Words to choose principles by."""

    @field_validator("critique", "revision", "comparison")
    @classmethod
    def _says_something(cls, text: str | None) -> str | None:
        if text is not None and not text.strip():
            raise ValueError("is blank; give its words, or leave the key out")
        return text

    @model_validator(mode="after")
    def _has_a_use(self) -> Self:
        if (self.critique is None) != (self.revision is None):
            lacks, has = ("revision", "critique") if self.revision is None else ("critique", "revision")
            raise ValueError(f"principle {self.id!r} has a {has} request and no {lacks} request; give both or neither")
        if self.critique is None and self.comparison is None:
            raise ValueError(
                f"principle {self.id!r} is for nothing: give it critique and revision, or comparison, or all three"
            )
        return self

    def has(self, use: Use) -> bool:
        return (self.critique if use == "critique" else self.comparison) is not None


class Example(Model):
    """A worked critique and revision, shown before the real one."""

    prompt: str | tuple[dict[str, str], ...]
    """What the user said, or the messages up to the answer."""
    answer: str
    """What the assistant answered."""
    critique_request: str
    """A principle's words."""
    critique: str
    """What is wrong with the answer."""
    revision_request: str
    """The same principle's words."""
    revision: str
    """The better answer."""


class Constitution(Model):
    name: str
    """What it is called in reports."""
    principles: tuple[Principle, ...]
    """What the judge goes by: one of them at a time, drawn by weight."""
    examples: tuple[Example, ...] = ()
    """Worked critiques and revisions, from which `judge.examples` are shown."""

    @field_validator("principles")
    @classmethod
    def _some_and_different(cls, principles: tuple[Principle, ...]) -> tuple[Principle, ...]:
        if (
            not principles
        ):  # not `min_length`: it would count only the valid ones, and hide what is wrong with the others
            raise ValueError("wanted at least one principle")
        seen: set[str] = set()
        for index, principle in enumerate(principles):
            if principle.id in seen:
                problem = ValueError(f"the id {principle.id!r} is given twice; rename one")
                # Raised so, and not as it is, for the place: the loader then names the line of the second one.
                detail = {"type": "value_error", "loc": (index, "id"), "input": principle.id, "ctx": {"error": problem}}
                raise ValidationError.from_exception_data("Constitution", [detail])  # type: ignore[list-item]
            seen.add(principle.id)
        return principles

    def draw(self, use: Use, *seed_parts: object) -> Principle:
        """One of the principles that have this use, by weight; the same for the same parts (`stable_seed`), and
        independent for different ones.

        Raises ConfigError where none has this use.
        """
        fit = [principle for principle in self.principles if principle.has(use)]
        if not fit:
            keys = "critique and revision requests" if use == "critique" else "a comparison question"
            raise ConfigError(
                f"constitution {self.name!r}: none of its {len(self.principles)} chosen principles has {keys}; choose "
                "or add one that has"
            )
        upto = list(accumulate(principle.weight for principle in fit))
        place = stable_seed("principle", use, *seed_parts) / 2**63 * upto[-1]
        return fit[min(bisect_right(upto, place), len(fit) - 1)]  # `min`: the product may round up to the end

    def chosen(self, only: Sequence[str] = (), leave_out: Sequence[str] = ()) -> Constitution:
        """With the principles that have one of the ids or tags in `only` (all, where it is empty) and none of those in
        `leave_out`.

        Raises ConfigError for a word that none has, and where none is left.
        """
        known = {word for principle in self.principles for word in (principle.id, *principle.tags)}
        for word in (*only, *leave_out):
            if word not in known:
                listed = ", ".join(sorted(known))
                raise ConfigError(
                    f"constitution {self.name!r}: no principle has the id or tag {word!r}{did_you_mean(word, known)} "
                    f"(known: {listed})"
                )
        kept = tuple(p for p in self.principles if (not only or _bears(p, only)) and not _bears(p, leave_out))
        if not kept:
            raise ConfigError(
                f"constitution {self.name!r}: no principle is left of {len(self.principles)}; choose more or leave out "
                "fewer"
            )
        return self.model_copy(update={"principles": kept})


def _bears(principle: Principle, words: Sequence[str]) -> bool:
    return principle.id in words or bool(set(principle.tags) & set(words))
