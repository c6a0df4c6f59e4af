"""Where a response's final answer is looked for."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from rlsys.config.base import Model

Place = Literal["marker", "box", "letter", "number", "statement"]
PLACES: tuple[Place, ...] = ("marker", "box", "letter", "number", "statement")


class AnswerPlaces(Model):
    answer_after: str | None = None
    """The marker of the place `marker`, such as `####`: the final answer is the line that follows its last
    occurrence."""
    answer_places: tuple[Place, ...] = PLACES
    """Where the final answer is looked for, in this order; the first place that the text has decides. `marker`: what
    follows the last `answer_after`; `box`: the last \\boxed{}; `letter`: where the ground truth is a choice letter, the
    last one chosen; `number`: where it is a number, the last number; `statement`: where it is anything else, what
    follows the last "answer is"."""

    @model_validator(mode="after")
    def _places_are_sound(self) -> Self:
        if len(set(self.answer_places)) < len(self.answer_places):
            raise ValueError("answer_places lists a place twice")
        if self.answer_after is not None and "marker" not in self.answer_places:
            raise ValueError(
                "answer_after has no effect without `marker` in answer_places; add it there, or leave answer_after out"
            )
        if self.answer_after is None and self.answer_places == ("marker",):
            raise ValueError("answer_places: the place `marker` needs answer_after, the text that the answer follows")
        if self.answer_after is not None and not self.answer_after.strip():
            raise ValueError("answer_after is blank; give the text that the answer follows, or leave it out")
        return self
