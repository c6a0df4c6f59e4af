"""Worker processes for calls that may hang or crash: one call at a time each, killed at the time limit and replaced.

A worker is `python -m MODULE TIME_LIMIT`, and MODULE calls `serve`. Both sides speak JSON lines over pipes, which needs
neither pickling nor a re-import of the parent's main module.
"""

from __future__ import annotations

import json
import os
import queue
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

START_LIMIT = 60.0
"""Seconds for a worker to import what it needs."""
MEMORY_LIMIT = 4 << 30
"""Bytes of address space of one worker: a call that wants more fails, and the machine stays usable."""
GRACE = 2.0
"""A busy worker whose parent is gone ends so many seconds after the time limit; an idle one at once."""


class CallFailed(Exception):
    """The call raised or its worker died; the reason in one line."""


class WorkerPool:
    """`call` may be used by many threads; at most `processes` calls run at the same time, further ones wait for a free
    worker."""

    def __init__(self, module: str, processes: int, time_limit: float) -> None:
        self._workers = [_Worker(module, time_limit) for _ in range(processes)]
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)

    def call(self, request: dict[str, Any]) -> dict[str, Any]:
        """The worker's answer. Raises CallFailed; the pool is whole again either way."""
        worker = self._idle.get()  # each call ahead of this one is bounded by the time limit
        try:
            return worker.call(request)
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        for worker in self._workers:
            worker.close()


class _Worker:
    """One place of the pool, with its present process."""

    def __init__(self, module: str, time_limit: float) -> None:
        self._command = [sys.executable, "-m", module, str(time_limit)]
        self._time_limit = time_limit
        self._closed = False
        self._start()

    def call(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._process.poll() is not None and not self._closed:
            self._start()
        try:
            if not self._ready:
                self._read(START_LIMIT, f"the worker did not start within {START_LIMIT:g} s")
                self._ready = True
            return self._exchange(request)
        except CallFailed:
            self._stop()
            if not self._closed:
                self._start()
            raise

    def close(self) -> None:
        self._closed = True
        self._stop()

    def _start(self) -> None:
        # The parent's search path, so that a worker finds what the parent found; one thread each, as more only reserve
        # address space.
        path = os.pathsep.join(entry for entry in sys.path if entry)
        environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            self._command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        self._ready = False

    def _stop(self) -> None:
        self._process.kill()
        self._process.wait(timeout=START_LIMIT)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def _exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
        except (BrokenPipeError, ValueError) as error:  # ValueError: closed by `close`
            raise CallFailed("the worker was gone") from error
        answer = self._read(self._time_limit, f"timed out after {self._time_limit:g} s")
        if "error" in answer:
            raise CallFailed(answer["error"])
        return answer

    def _read(self, limit: float, late: str) -> dict[str, Any]:
        assert self._process.stdout is not None
        deadline = time.monotonic() + limit
        line = b""
        while not line.endswith(b"\n"):
            try:
                ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
                piece = os.read(self._process.stdout.fileno(), 1 << 16) if ready else None
            except (OSError, ValueError) as error:
                raise CallFailed("the worker was closed") from error
            if piece is None:
                raise CallFailed(late)
            if not piece:
                raise CallFailed(f"the worker died with exit code {self._process.wait(timeout=START_LIMIT)}")
            line += piece
        return json.loads(line)


def serve(handle: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """The worker's side: answer requests from standard input until it ends, which it does when the parent dies.

    Before each call an alarm without handler is set: the kernel then ends a worker whose parent died in the middle of a
    call, even inside a C function that never returns to Python.
    """
    time_limit = float(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    answers.write("{}\n")
    answers.flush()
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_REAL, time_limit + GRACE)
        try:
            answer = handle(json.loads(line))
        except Exception as error:  # noqa: BLE001 - the parent reports whatever it is
            answer = {"error": f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"}
        signal.setitimer(signal.ITIMER_REAL, 0)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
