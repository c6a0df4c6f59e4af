"""The worker's side of `rlsys.workers.pool`."""

from __future__ import annotations

import json
import os
import pickle
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

GRACE = 2.0
"""A busy worker whose parent is gone ends so many seconds after the time limit; an idle one at once."""

Handle = Callable[[Any], dict[str, Any]]


def serve(prepare: Callable[[Sequence[str]], Handle]) -> None:
    """Answer requests from standard input by the function that `prepare` makes of the worker's arguments. Returns when
    the input ends, which it does when the parent dies.

    Before each request an alarm without handler is set: the kernel then ends a worker whose parent died in the middle
    of a call, even inside a C function that never returns to Python.
    """
    time_limit, memory_limit = float(sys.argv[1]), int(sys.argv[2])
    if memory_limit:
        resource.setrlimit(resource.RLIMIT_AS, (memory_limit, memory_limit))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    # What a library prints must not be taken for an answer, and what it reads is not the next request.
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    try:
        handle = prepare(sys.argv[3:])
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the parent reports whatever it is
        _say(answers, {"error": in_one_line(error)})
        return
    _say(answers, {})
    while head := requests.read(8):
        for request in pickle.loads(requests.read(int.from_bytes(head, "little"))):
            signal.setitimer(signal.ITIMER_REAL, time_limit + GRACE)
            try:
                answer = handle(request)
            except MemoryError as error:
                # Who knows what holds the memory: a fresh process goes on.
                _say(answers, {"error": in_one_line(error)})
                return
            except (Exception, SystemExit) as error:  # noqa: BLE001 - the parent reports whatever it is
                answer = {"error": in_one_line(error)}
            signal.setitimer(signal.ITIMER_REAL, 0)
            _say(answers, answer)


def in_one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"


def _say(answers: BinaryIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer).encode() + b"\n")
    answers.flush()
