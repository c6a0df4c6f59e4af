"""The only place that waits for Ray: every wait has a limit, says what it waited for, and gives the root cause
first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import (
    GetTimeoutError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
)

from rlsys.errors import ActorDied, ActorError, RlsysError, WaitTimeout

DEATHS = (RayActorError, NodeDiedError, ObjectLostError, OutOfMemoryError)
"""What Ray says of a process that is gone: by itself, with its node, with what it had made, or for its memory."""
GRACE = 3.0
"""Seconds after one rank's error for Ray to notice that it failed only because another one died."""


def fetch(refs: Any, what: str, timeout: float) -> Any:
    """The value of one object reference, or the list of values of a sequence of them.

    `what` completes "waited for ..."; `timeout` is in seconds and covers all references together. Raises `WaitTimeout`
    at the limit and `ActorError` when an actor raised or died. An actor's own `RlsysError` keeps its class, so that a
    configuration error stays one.
    """
    try:
        return ray.get(list(refs) if isinstance(refs, Sequence) else refs, timeout=timeout)
    except RayError as error:
        # Ray gives an error from an actor also the class of its cause, which may be a timeout in there.
        if isinstance(error, GetTimeoutError) and not isinstance(error, RayTaskError):
            raise WaitTimeout(f"waited {timeout:g} s for {what}") from error
        root = _root(list(refs), error) if isinstance(refs, Sequence) else error
        raise _explain(root, what) from root


def _root(refs: list[Any], first: RayError) -> RayError:
    """The error that the others follow from: an actor's death (its peers then fail in a collective), else an error that
    we raised ourselves, else the first one."""
    ready, _ = ray.wait(refs, num_returns=len(refs), timeout=GRACE)
    errors = [first]
    for ref in ready:
        try:
            ray.get(ref, timeout=GRACE)
        except RayError as error:
            errors.append(error)
    deaths = [error for error in errors if _is_death(error)]
    ours = [error for error in errors if isinstance(_cause(error), RlsysError)]
    return (deaths + ours + [first])[0]


def _is_death(error: RayError) -> bool:
    return isinstance(error, DEATHS) and not isinstance(error, RayTaskError)


def _cause(error: BaseException) -> BaseException:
    while isinstance(error, RayTaskError) and isinstance(error.cause, BaseException) and error.cause is not error:
        error = error.cause
    return error


def _explain(error: RayError, what: str) -> RlsysError:
    cause = _cause(error)
    if _is_death(error):
        unmade = "creation task" in str(error).splitlines()[0]  # it raised in its constructor
        return (ActorError if unmade else ActorDied)(f"{_death(error)} (while waiting for {what})")
    if isinstance(cause, RlsysError):
        return type(cause)(str(cause))
    return ActorError(f"{type(cause).__name__}: {_first_line(cause)} (while waiting for {what})")


def _death(error: RayError) -> str:
    """Which actor died and why, without Ray's advice and log paths. Ray keeps both only in the text of its message."""
    if not isinstance(error, RayActorError):
        return f"an actor died: {type(error).__name__}: {_first_line(error)}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    facts = dict(line.split(": ", 1) for line in lines if ": " in line)
    name = facts.get("name") or facts.get("class_name") or error.actor_id
    if "creation task" in lines[0]:
        raised = [line for line in lines if re.match(r"[A-Za-z_][\w.]*: ", line)]
        return f"actor {name} could not be made: {raised[-1] if raised else lines[-1]}"
    return f"actor {name} died: {lines[-1].split(' Some common causes')[0]}"


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
