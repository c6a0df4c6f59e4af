"""Errors that a user sees as one line for each mistake: what, where, what to do."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterable


class RlsysError(Exception):
    """Base of the errors that the command line prints without a traceback (exit code 1)."""


class ConfigError(RlsysError):
    """Bad configuration or bad command line (exit code 2): names file, line, key and the nearest valid one."""


class DataError(RlsysError):
    """Input data that can't be used."""


class TooFewRows(DataError):
    """The rows that were read are not enough for the run."""


class NoUsableRow(TooFewRows):
    """Not one of the rows that were read can be used; `reason` is the first one's."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class ActorError(RlsysError):
    """An actor died or raised; carries the root cause first."""


class ActorDied(ActorError):
    """An actor's process is gone, or its node."""


class WaitTimeout(RlsysError):
    """A wait reached its limit; says what it waited for."""


class WeightSyncError(RlsysError):
    """Weights did not arrive as sent; names the tensor."""


class JudgeOutage(RlsysError):
    """The judge stayed away for longer than the run was told to wait."""


class CheckpointError(RlsysError):
    """A checkpoint that is missing, incomplete or damaged."""


class SaveError(CheckpointError):
    """A checkpoint that can't be written now; earlier ones are untouched."""


class RunError(RlsysError):
    """A run's folder that can't be made, is none, or is in use."""


def command(*parts: object) -> str:
    """A command that a message suggests, quoted so that it can be pasted, whatever its folders are called."""
    return shlex.join(map(str, parts))


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """`; did you mean clip_high?`, or nothing when no option is close."""
    close = nearest(word, options)
    return f"; did you mean {close}?" if close else ""


def nearest(word: str, options: Iterable[str]) -> str | None:
    """The most similar option (compared without case, `_` and `-`), or None when none is close."""
    plain = {option.lower().replace("_", "").replace("-", ""): option for option in options}
    close = difflib.get_close_matches(word.lower().replace("_", "").replace("-", ""), list(plain), n=1, cutoff=0.6)
    return plain[close[0]] if close else None
