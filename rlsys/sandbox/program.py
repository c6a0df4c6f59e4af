"""The process of one program: it gives up what it may do, then runs the program and its tests, and reports each."""

from __future__ import annotations

import math
import os
import resource
import sys
import types
from collections.abc import Sequence

from rlsys.sandbox import isolation, kernel
from rlsys.sandbox.seccomp import Filter

MIB = 1 << 20
LARGEST_FILE = 16 * MIB
OPEN_FILES, THREADS = 64, 64
MODULE = "solution"
"""What the program is called; not `__main__`, so that what it does as a script is left out."""
READY, PASSED, FAILED, BROKEN = b"r", b"p", b"f", b"b"
"""Records of the report: each is the key, one of these letters and, of the last two, a text's length and the text."""
LONGEST = 200
"""Bytes of a text."""


def run(source: str, tests: Sequence[str], time_limit: float, memory_mib: int, report: int, key: bytes) -> None:
    """Called in a process made for it, which ends here. `report`: a pipe to write to."""
    try:
        _confine(report, time_limit, memory_mib)
    except OSError as error:
        os.write(report, key + BROKEN + _text(str(error)))
        os._exit(1)
    os.write(report, key + READY)
    module = types.ModuleType(MODULE)
    sys.modules[MODULE] = module
    problem = _problem(source, module)
    for test in tests:
        failed = problem or _problem(test, module)
        os.write(report, key + (FAILED + _text(failed) if failed else PASSED))
    os._exit(0)


def _problem(source: str, module: types.ModuleType) -> str | None:
    """What goes wrong when the source is run, in one line."""
    try:
        exec(compile(source, MODULE, "exec"), module.__dict__)
    except BaseException as error:  # noqa: BLE001 - SystemExit, KeyboardInterrupt and the program's own among them
        try:
            return f"{type(error).__name__}: {error}".splitlines()[0]
        except BaseException:  # noqa: BLE001 - the error is the program's, too, and may not even have a text
            return type(error).__name__
    return None


def _confine(report: int, time_limit: float, memory_mib: int) -> None:
    allowed = Filter()
    isolation.fresh_scratch()
    nothing = os.open(os.devnull, os.O_RDWR)
    for own in (0, 1, 2):
        os.dup2(nothing, own)
    os.closerange(3, report)
    os.closerange(report + 1, 1 << 16)
    os.environ.clear()
    seconds = math.ceil(time_limit) + 1
    for limit, most in (
        (resource.RLIMIT_AS, memory_mib * MIB),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, LARGEST_FILE),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_NPROC, THREADS),
    ):
        resource.setrlimit(limit, (most, most))
    kernel.drop_capabilities()
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    allowed.load()


def _text(text: str) -> bytes:
    content = text.encode(errors="replace")[:LONGEST]
    return bytes([len(content)]) + content
