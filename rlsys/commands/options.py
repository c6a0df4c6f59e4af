"""Options of a command as settings of an experiment, so that they are checked, and complained of, as those are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rlsys.config.dataset import DatasetConfig
from rlsys.config.document import Document, Override
from rlsys.errors import ConfigError


def settings(own: Sequence[tuple[str, str, Any]], typed: Sequence[str] = ()) -> list[Override]:
    """`own`: option, key and value of what the command has options for, None where it was not given; `typed`: key=value
    as given to --set, which go over them."""
    given = [(option, key, value) for option, key, value in own if value is not None]
    options = [Override(f"{key}={json.dumps(value)}", f"{option} {_shown(value)}") for option, key, value in given]
    return [*options, *(Override(text, f"--set {text!r}") for text in typed)]


def sampling(
    temperature: float | None, max_tokens: int | None, seed: int | None, typed: Sequence[str] | None
) -> list[Override]:
    """The options that `sample`, `chat` and `evaluate` share."""
    own = [("--temperature", "sampling.temperature", temperature), ("--max-tokens", "sampling.max_tokens", max_tokens)]
    return settings([*own, ("--seed", "seed", seed)], typed or ())


def dataset(path: str, fields: dict[str, str], split: str | None = None, limit: int | None = None) -> DatasetConfig:
    """A data set named on the command line, by `--field`, `--split` and `--limit`. Raises ConfigError."""
    own = [("PATH", "path", path), ("--field", "fields", fields or None)]
    given = settings([*own, ("--split", "split", split), ("--limit", "limit", limit)])
    return document({}, given).validated(DatasetConfig)


def document(data: dict[str, object], overrides: Sequence[Override]) -> Document:
    found = Document.empty("command line")
    found.data.update(data)
    for override in overrides:
        found.override(override)
    return found


def pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    """`prompt=question,answer=solution`, perhaps in several parts. Raises ConfigError."""
    found = {}
    for part in ",".join(texts).split(","):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not (key and equals and value):
            raise ConfigError(f"{option} {','.join(texts)}: wanted key=value, as in prompt=question,answer=solution")
        found[key] = value
    return found


def numbers(option: str, text: str) -> list[int]:
    """`1,4`. Raises ConfigError."""
    if not all(part.strip().isdecimal() for part in text.split(",")):
        raise ConfigError(f"{option} {text}: wanted whole numbers, as in 1,4")
    return [int(part) for part in text.split(",")]


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
