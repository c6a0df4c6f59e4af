"""The process that programs are forked from: Python with the modules that they most often want, in namespaces of its
own."""

from __future__ import annotations

import gc
import importlib
import os
import secrets
import select
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from rlsys.sandbox import isolation, program
from rlsys.sandbox.seccomp import Filter
from rlsys.workers.serve import Handle, serve

_WARM = """
abc bisect cmath collections copy dataclasses datetime decimal enum fractions functools hashlib heapq itertools json
math operator random re statistics string typing
"""
LONGEST_REPORT = 1 << 20
"""Bytes; a program that writes more to the report's pipe is no longer read."""
PROBE = {
    "has a variable of the environment": "import os\nassert not os.environ",
    "sees files outside": "import os\nassert not os.path.exists('/etc/passwd') and not os.path.exists('/proc/self')",
    "writes outside its folder": "try:\n    open('/written', 'w')\nexcept OSError: pass\nelse: assert False",
    "starts a process": "import os\ntry:\n    os.fork()\nexcept OSError: pass\nelse: os._exit(1)",
    "opens a socket": "import socket\ntry:\n    socket.socket()\nexcept OSError: pass\nelse: assert False",
    "takes all memory": "try:\n    bytearray(1 << 40)\nexcept MemoryError: pass\nelse: assert False",
    "can't write into its folder": "open('file', 'w').write('x')\nassert open('file').read() == 'x'",
}
"""What must not be so, and a test of it: run before the first program."""


class NotConfined(Exception):
    """Programs can't be kept apart from the machine."""


def prepare(arguments: Sequence[str]) -> Handle:
    """Arguments: the time limit in seconds and the memory in MiB of a program. Raises NotConfined with what is
    missing."""
    time_limit, memory_mib = float(arguments[0]), int(arguments[1])

    def handle(request: dict[str, Any]) -> dict[str, Any]:
        return run_program(request["source"], request["tests"], time_limit, memory_mib)

    try:
        _move_in()
        tried = handle({"source": "", "tests": [*PROBE.values()]})
    except OSError as error:
        raise NotConfined(error.strerror or str(error)) from error
    for what, passed in zip(PROBE, tried["passed"], strict=True):
        if not passed:
            raise NotConfined(f"a program in the sandbox {what} ({tried['problem']})")
    return handle


def _move_in() -> None:
    Filter()  # reads the library from the file system that is left behind
    for name in _WARM.split():
        importlib.import_module(name)
    sys.path[:] = isolation.STANDARD_LIBRARY
    isolation.enter()
    os.environ.clear()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()  # forks share what is not touched


def run_program(source: str, tests: Sequence[str], time_limit: float, memory_mib: int) -> dict[str, Any]:
    """Raises OSError if the program could not be confined: then it was not run."""
    key = secrets.token_bytes(16)
    reading, writing = os.pipe()
    deadline = time.monotonic() + time_limit
    child = os.fork()
    if not child:
        try:
            program.run(source, tests, time_limit, memory_mib, writing, key)
        finally:
            os._exit(1)
    os.close(writing)
    report, late = _read(reading, deadline)
    os.close(reading)
    with suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)  # everything in the namespace but this process
    _, status = os.waitpid(child, 0)
    end = f"timed out after {time_limit:g} s" if late else _ended(os.waitstatus_to_exitcode(status))
    return _outcome(report, key, len(tests), end)


def _read(pipe: int, deadline: float) -> tuple[bytes, bool]:
    """What was written until the program's end, and whether that did not come in time."""
    report = b""
    while len(report) < LONGEST_REPORT:
        if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return report, True
        piece = os.read(pipe, 1 << 16)
        if not piece:
            break
        report += piece
    return report, False


def _ended(code: int) -> str:
    return f"ended by signal {-code}" if code < 0 else f"ended itself with exit code {code}"


def _outcome(report: bytes, key: bytes, tests: int, end: str) -> dict[str, Any]:
    """Whatever the program itself writes does not begin with the key, and ends the reading."""
    passed: list[bool] = []
    problem, ready = "", False
    while report.startswith(key) and len(passed) < tests:
        kind, report = report[len(key) : len(key) + 1], report[len(key) + 1 :]
        text = ""
        if kind in (program.FAILED, program.BROKEN):
            text, report = report[1 : 1 + report[0]].decode(errors="replace"), report[1 + report[0] :]
        if kind == program.BROKEN:
            raise OSError(text)
        if kind == program.READY:
            ready = True
        else:
            passed.append(kind == program.PASSED)
            problem = problem or text
    if not ready:
        raise OSError(f"the process of the program {end} before it began")
    if len(passed) < tests:
        problem = problem or end
        passed += [False] * (tests - len(passed))
    return {"passed": passed, "problem": problem}


if __name__ == "__main__":
    serve(prepare)
