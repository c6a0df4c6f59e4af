"""Work on batches in several processes: results in order, and no more waiting than a few."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain
from typing import Any, TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")
AHEAD = 3
"""Batches for each process that are read before they are wanted."""
ALONE = 2.0
"""Seconds; about what it takes to start the others."""

_work: Callable[[Any], Any] | None = None
"""Of a process of the pool."""


def ordered(
    work: Callable[[ItemT], ResultT], items: Iterable[ItemT], processes: int | None = None
) -> Iterator[ResultT]:
    """`work` of each item, in order. `work` is sent to each process once, so it must be picklable.

    `processes` None: as many as there are cores; but this process begins alone, because most work is done before
    others have started.
    """
    items, wanted, begun = iter(items), processes or len(os.sched_getaffinity(0)), time.monotonic()
    for item in items:
        if wanted > 1 and (processes or time.monotonic() - begun > ALONE):
            items = chain([item], items)
            break
        yield work(item)
    else:
        return
    # Not by fork: a driver has threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(wanted, context, initializer=_begin, initargs=(work,)) as pool:
        running: deque[Future[ResultT]] = deque()
        try:
            for item in items:
                running.append(pool.submit(_do, item))
                if len(running) > AHEAD * wanted:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(work: Callable[[Any], Any]) -> None:
    global _work
    _work = work


def _do(item: Any) -> Any:
    assert _work is not None
    return _work(item)
