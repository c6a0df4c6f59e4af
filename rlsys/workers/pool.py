"""The caller's side of worker processes: they are killed at the time limit, started anew, and given what was left.

A worker is `python -m MODULE ...`, and MODULE calls `rlsys.workers.serve.serve`. Requests travel pickled, many at once,
as a worker trusts its parent; answers are lines of JSON, one for each request as soon as there is one, as the parent
need not trust its worker. So the parent always knows at which request a worker is.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

START_LIMIT = 60.0
"""Seconds for a worker to import what it needs."""
END_LIMIT = 2.0
"""Seconds for a worker to end by itself once it is told to."""
MEMORY_LIMIT = 4 << 30
"""Bytes of address space of one worker: a call that wants more fails, and the machine stays usable."""
CHUNKS = 4
"""A worker gets about so many parts of its share of the requests, one after the other, so that a slow part does not
leave the other workers idle."""
TRIES = 2
"""A request whose worker died is given to a fresh one: it may have been killed from outside."""


class CallFailed(Exception):
    """The call raised, took too long, or ended its worker; the reason in one line."""


class Raised(CallFailed):
    """The worker's function raised."""


class TimeOver(CallFailed):
    """The time for all requests of the call was over."""


class WorkerDied(CallFailed):
    """The process ended in the middle of a call."""


class StartFailed(CallFailed):
    """The process could not be made ready for calls."""


@dataclass(frozen=True)
class Worker:
    """What the processes of a pool are."""

    module: str
    time_limit: float
    """Seconds for one request."""
    arguments: tuple[str, ...] = ()
    """Given to the function that `serve` is called with."""
    memory_limit: int | None = MEMORY_LIMIT
    environment: Mapping[str, str] | None = None
    """Instead of the parent's, which it otherwise gets."""
    start_limit: float = START_LIMIT

    def start(self) -> subprocess.Popen[bytes]:
        # The parent's search path, so that a worker finds what the parent found; one thread each, as more only reserve
        # address space.
        path = os.pathsep.join(entry for entry in sys.path if entry)
        inherited = os.environ if self.environment is None else self.environment
        process = subprocess.Popen(
            [sys.executable, "-m", self.module, str(self.time_limit), str(self.memory_limit or 0), *self.arguments],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**inherited, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,  # what it starts ends with it
        )
        assert process.stdin is not None
        os.set_blocking(process.stdin.fileno(), False)
        return process


class WorkerPool:
    """May be used by many threads; at most `processes` requests are in work at the same time, further ones wait for a
    free worker."""

    def __init__(self, worker: Worker, processes: int) -> None:
        self._workers = [_Running(worker) for _ in range(processes)]
        self._idle: queue.SimpleQueue[_Running] = queue.SimpleQueue()
        for running in self._workers:
            self._idle.put(running)

    def wait_until_ready(self) -> None:
        """Raises StartFailed with the first reason why a worker could not be made ready."""
        for running in self._workers:
            running.wait_until_ready()

    def call(self, request: Any) -> dict[str, Any]:
        """The worker's answer. Raises CallFailed; the pool is whole again either way."""
        (answer,) = self.each([request])
        if isinstance(answer, CallFailed):
            raise answer
        return answer

    def each(self, requests: Sequence[Any], until: float = math.inf) -> list[dict[str, Any] | CallFailed]:
        """The answers, in order, or why there is none. `until`: of `time.monotonic`; what is not done by then has
        failed, and its process was killed."""
        calls = _Calls(requests, until, max(1, len(requests) // (CHUNKS * len(self._workers))))

        def work() -> None:
            while chunk := calls.take():
                running = self._idle.get()  # each call ahead of this one is bounded by its limits
                try:
                    calls.make(chunk, running)
                finally:
                    self._idle.put(running)

        helpers = [threading.Thread(target=work) for _ in range(min(len(self._workers), calls.chunks) - 1)]
        for helper in helpers:
            helper.start()
        work()
        for helper in helpers:
            helper.join()
        return calls.results()

    def close(self) -> None:
        """End all workers. Calls that are in work fail."""
        for running in self._workers:
            running.close()


class _Calls:
    """The requests of one call of `each`."""

    def __init__(self, requests: Sequence[Any], until: float, size: int) -> None:
        starts = range(0, len(requests), size)
        self.chunks = len(starts)
        self._requests, self._until = requests, until
        self._waiting = deque(deque(range(len(requests))[start : start + size]) for start in starts)
        self._done: dict[int, dict[str, Any] | CallFailed] = {}
        self._lock = threading.Lock()

    def take(self) -> deque[int] | None:
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def make(self, chunk: deque[int], running: _Running) -> None:
        """Have all requests of a chunk answered, if need be by several processes one after the other."""
        died: deque[int] = deque()
        while chunk:
            try:
                if time.monotonic() >= self._until:
                    raise TimeOver("not done in time")
                for answer in running.answers([self._requests[index] for index in chunk], self._until):
                    self._done[chunk.popleft()] = Raised(answer["error"]) if "error" in answer else answer
            except (StartFailed, TimeOver) as error:
                self._done |= dict.fromkeys(chunk, error)
                return
            except WorkerDied as error:
                died.append(chunk[0])
                if died.count(chunk[0]) == TRIES:
                    self._done[chunk.popleft()] = CallFailed(f"its process ended {TRIES} times: {error}")
            except CallFailed as error:
                self._done[chunk.popleft()] = error

    def results(self) -> list[dict[str, Any] | CallFailed]:
        return [self._done[index] for index in range(len(self._requests))]


class _Running:
    """One place of the pool, with its present process."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._closed = False
        self._start()

    def wait_until_ready(self, until: float = math.inf) -> None:
        """Raises StartFailed, TimeOver."""
        if self._ready:
            return
        try:
            said = self._read_within(self._worker.start_limit, until, "not ready within")
        except TimeOver:
            raise
        except CallFailed as error:
            raise StartFailed(f"the worker did not start: {error}") from error
        if "error" in said:
            raise StartFailed(said["error"])
        self._ready = True

    def answers(self, requests: Sequence[Any], until: float) -> Iterator[dict[str, Any]]:
        """In order. Raises CallFailed at the first one that does not come; by then there is a fresh process."""
        if self._closed:
            raise CallFailed("the worker was gone")
        try:
            self.wait_until_ready(until)
            self._send(requests)
            for _ in requests:
                yield self._read_within(self._worker.time_limit, until, "timed out after")
        except CallFailed:
            self._end()
            if not self._closed:
                self._start()
            raise

    def close(self) -> None:
        self._closed = True
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_LIMIT)
        self._end()

    def _start(self) -> None:
        self._process, self._ready, self._received = self._worker.start(), False, b""

    def _end(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=START_LIMIT)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def _send(self, requests: Sequence[Any]) -> None:
        content = pickle.dumps(requests)
        left = memoryview(len(content).to_bytes(8, "little") + content)
        deadline = time.monotonic() + self._worker.time_limit
        try:
            assert self._process.stdin is not None
            pipe = self._process.stdin.fileno()
            while left:
                if not select.select([], [pipe], [], max(0.0, deadline - time.monotonic()))[1]:
                    raise CallFailed(f"the worker read nothing for {self._worker.time_limit:g} s")
                left = left[os.write(pipe, left) :]
        except (OSError, ValueError) as error:  # ValueError: closed by `close`
            raise WorkerDied("the worker was gone") from error

    def _read_within(self, limit: float, until: float, late: str) -> dict[str, Any]:
        left = max(0.0, until - time.monotonic())
        if left < limit:
            return self._read(left, TimeOver("not done in time"))
        return self._read(limit, CallFailed(f"{late} {limit:g} s"))

    def _read(self, limit: float, late: CallFailed) -> dict[str, Any]:
        assert self._process.stdout is not None
        deadline = time.monotonic() + limit
        while b"\n" not in self._received:
            try:
                ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
                piece = os.read(self._process.stdout.fileno(), 1 << 16) if ready else None
            except (OSError, ValueError) as error:
                raise CallFailed("the worker was closed") from error
            if piece is None:
                raise late
            if not piece:
                raise WorkerDied(f"exit code {self._process.wait(timeout=START_LIMIT)}")
            self._received += piece
        line, _, self._received = self._received.partition(b"\n")
        try:
            said = json.loads(line)
        except ValueError as error:
            raise CallFailed(f"the worker said {line[:40]!r}, which is no answer") from error
        if not isinstance(said, dict):
            raise CallFailed(f"the worker said {line[:40]!r}, which is no answer")
        return said
