"""Regular expressions in the settings of rewards: checked when they are read, and limited in time when they search."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

import regex
from pydantic import AfterValidator

from rlsys.samples import Abstention


def _valid(pattern: str) -> str:
    try:
        regex.compile(pattern)
    except regex.error as error:
        raise ValueError(f"regex {pattern!r} is not valid: {error}") from error
    return pattern


PatternText = Annotated[str, AfterValidator(_valid)]


def found(patterns: Sequence[regex.Pattern[str]], text: str, time_limit: float) -> bool | Abstention:
    """Whether any of them matches somewhere in `text`; an abstention where that is not known within `time_limit`
    seconds."""
    deadline = time.monotonic() + time_limit
    try:
        return any(
            pattern.search(text, timeout=max(1e-3, deadline - time.monotonic())) is not None for pattern in patterns
        )
    except TimeoutError:
        return Abstention(f"regex timed out after {time_limit:g} s")
