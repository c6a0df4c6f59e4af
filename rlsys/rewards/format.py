"""1 if the response has the asked form, else 0: a regular expression, a sequence of tags, or a JSON schema."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any, Self

import regex
from jsonschema import SchemaError
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from pydantic import PositiveFloat, model_validator
from referencing import Registry
from referencing.exceptions import Unresolvable

from rlsys.config.base import Model
from rlsys.rewards.patterns import PatternText, found
from rlsys.samples import Abstention, Prompt, RewardResult, Score, Trajectory


class Config(Model):
    """Exactly one of `regex`, `tags` and `json_schema`."""

    regex: PatternText | None = None
    """Must be found somewhere in the response; anchor it with \\A and \\Z to mean the whole."""
    tags: tuple[str, ...] = ()
    """The response is these elements, each once and in this order, white space between: [think, answer] is
    <think>..</think> <answer>..</answer>."""
    json_schema: dict[str, Any] | None = None
    """The whole response is JSON that fits this schema."""
    time_limit: PositiveFloat = 5.0
    """Seconds for matching `regex` against one response."""

    @model_validator(mode="after")
    def _one_valid_form(self) -> Self:
        if (self.regex is not None) + bool(self.tags) + (self.json_schema is not None) != 1:
            raise ValueError("format wants exactly one of regex, tags and json_schema")
        if self.json_schema is not None:
            try:
                validator_for(self.json_schema).check_schema(self.json_schema)
            except SchemaError as error:
                raise ValueError(f"json_schema is not valid: {error.message}") from error
        return self


class Reward:
    def __init__(self, config: Config) -> None:
        self.config = config

    def score(self, prompt: Prompt, trajectory: Trajectory) -> RewardResult:
        text = trajectory.text
        if self.config.tags:
            return Score(float(has_tags(text, self.config.tags)))
        if self.config.json_schema is not None:
            return self._fits_schema(text)
        matches = found([self._regex], text, self.config.time_limit)
        return matches if isinstance(matches, Abstention) else Score(float(matches))

    @cached_property
    def _regex(self) -> regex.Pattern[str]:
        assert self.config.regex is not None
        return regex.compile(self.config.regex)

    @cached_property
    def _validator(self) -> Validator:
        assert self.config.json_schema is not None
        # An empty registry: a schema that refers to an address is not fetched from the network.
        return validator_for(self.config.json_schema)(self.config.json_schema, registry=Registry())

    def _fits_schema(self, text: str) -> RewardResult:
        try:
            value = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            return Score(0.0)
        try:
            return Score(float(self._validator.is_valid(value)))
        except Unresolvable as error:
            return Abstention(f"the JSON schema refers to what it does not contain: {error}")


def has_tags(text: str, tags: tuple[str, ...]) -> bool:
    """Whether `text` is one element per tag, in order, and none of the tags occurs anywhere else."""
    rest = text
    for tag in tags:
        opening, closing = f"<{tag}>", f"</{tag}>"
        if text.count(opening) != 1 or text.count(closing) != 1:
            return False
        rest = rest.lstrip()
        if not rest.startswith(opening) or closing not in rest:
            return False
        rest = rest.split(closing, 1)[1]
    return not rest.strip()


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
