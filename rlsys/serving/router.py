"""The adapter router: which adapter answers a request, by rules or by a classifier of yours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import regex
from pydantic import Field, PositiveFloat, field_validator, model_validator

from rlsys import registry
from rlsys.config.base import Model
from rlsys.config.document import load_as
from rlsys.config.messages import Problem
from rlsys.errors import ConfigError, RlsysError, did_you_mean
from rlsys.serving.adapters import THE_MODEL

SEARCH_LIMIT = 0.5
"""Seconds for a regular expression on one request."""


class NoRoute(RlsysError):
    """A request for which the router has no adapter."""


class Rule(Model):
    """An adapter, and the requests that it answers. Exactly one of `equals` and `regex`."""

    adapter: str
    """Who answers: a name given to --adapter, or base for the model itself."""
    field: str | None = None
    """What is looked at: a key of the request's JSON, dotted where it is nested, as in metadata.task; null: the last
    message of the user, or the prompt of a completion."""
    equals: str | int | float | bool | None = None
    """It is exactly this."""
    regex: str | None = None
    """This regular expression is found in it."""

    @field_validator("regex")
    @classmethod
    def _is_regular(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                regex.compile(pattern)
            except regex.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
        return pattern

    @model_validator(mode="after")
    def _one_condition(self) -> Rule:
        if (self.equals is None) == (self.regex is None):
            raise ValueError("a rule wants exactly one of equals and regex")
        return self

    def fits(self, request: Mapping[str, Any]) -> bool:
        """Raises NoRoute where the search takes too long."""
        found = text_of(request) if self.field is None else entry(request, self.field)
        if self.regex is None:
            return type(found) is type(self.equals) and found == self.equals
        try:
            return isinstance(found, str) and bool(regex.search(self.regex, found, timeout=SEARCH_LIMIT))
        except TimeoutError as error:
            raise NoRoute(f"the router's rule {self.regex!r} took longer than {SEARCH_LIMIT:g} s") from error


class RouterConfig(Model):
    """Rules or a classifier: one of the two."""

    name: str = "auto"
    """What requests call the router, as their model."""
    rules: tuple[Rule, ...] = ()
    """The first that fits a request chooses its adapter."""
    classifier: str | None = None
    """Dotted path of your own function: it is given a request's JSON as a dict and returns the adapter's name."""
    classifier_seconds: PositiveFloat = Field(default=5.0)
    """Longest time that the classifier may take for a request."""
    default: str | None = None
    """Who answers where no rule fits, an adapter or base; null: such a request is refused."""

    @model_validator(mode="after")
    def _one_way(self) -> RouterConfig:
        if bool(self.rules) == (self.classifier is not None):
            raise ValueError("a router wants one of rules and classifier")
        if self.classifier is not None and self.default is not None:
            raise ValueError("default is for rules; let the classifier return a name for every request")
        return self

    @cached_property
    def function(self) -> Callable[[dict[str, Any]], Any]:
        """The classifier. Raises ConfigError unless it is a function."""
        assert self.classifier is not None
        if "." not in self.classifier:
            raise ConfigError(f"{self.classifier!r}: wanted a dotted path, as in my_module.my_function")
        found = registry.resolve("rlsys.serving", self.classifier, "classify")
        if not callable(found):
            raise ConfigError(f"{self.classifier!r} is no function")
        return found

    def names(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Those that may answer, and where each is named."""
        for index, rule in enumerate(self.rules):
            yield ("rules", index, "adapter"), rule.adapter
        if self.default is not None:
            yield ("default",), self.default

    async def choose(self, request: dict[str, Any]) -> str:
        """Name of the adapter that answers. Raises NoRoute."""
        if self.classifier is not None:
            return await self._classified(request)
        chosen = next((rule.adapter for rule in self.rules if rule.fits(request)), self.default)
        if chosen is None:
            raise NoRoute("no rule of the router fits this request, and it has no default; name an adapter as model")
        return chosen

    async def _classified(self, request: dict[str, Any]) -> str:
        try:
            chosen = await asyncio.wait_for(asyncio.to_thread(self.function, request), self.classifier_seconds)
        except TimeoutError as error:
            raise NoRoute(f"{self.classifier} took longer than {self.classifier_seconds:g} s") from error
        except Exception as error:  # code of the user's: whatever it raises is its answer
            raise NoRoute(f"{self.classifier} raised {type(error).__name__}: {error}") from error
        if not isinstance(chosen, str):
            raise NoRoute(f"{self.classifier} returned {chosen!r}, which is no adapter's name")
        return chosen


def load_router(path: Path, adapters: Collection[str], served: str) -> RouterConfig:
    """A router over these adapters of the model that is `served` under that name. Raises ConfigError, one line for each
    mistake."""

    def problems(config: RouterConfig) -> Iterator[Problem]:
        known = [*adapters, THE_MODEL]
        for key, name in config.names():
            if name not in known:
                yield Problem(key, f"no adapter {name!r}{did_you_mean(name, known)} (given: {', '.join(known)})")
        if config.name in (*known, served):
            yield Problem(("name",), f"{config.name!r} is an adapter or the model; call the router otherwise")
        if config.classifier is not None:
            try:
                _ = config.function
            except ConfigError as error:
                yield Problem(("classifier",), str(error))

    return load_as(RouterConfig, path, check=problems)


def entry(request: Mapping[str, Any], field: str) -> Any:
    """What the request has at a dotted key; None where it has nothing there."""
    found: Any = request
    for part in field.split("."):
        if not isinstance(found, dict) or part not in found:
            return None
        found = found[part]
    return found


def text_of(request: Mapping[str, Any]) -> str | None:
    """The last message of the user, or the prompt; None where there is neither, or no text in it."""
    messages = request.get("messages")
    if not isinstance(messages, list):
        prompt = request.get("prompt")
        return prompt if isinstance(prompt, str) else None
    asked = [one for one in messages if isinstance(one, dict) and one.get("role") == "user"]
    content = asked[-1].get("content") if asked else None
    if isinstance(content, list):  # in parts, of which some may be images
        content = "\n".join(str(part["text"]) for part in content if isinstance(part, dict) and "text" in part)
    return content if isinstance(content, str) else None
