"""Several waits at the same time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any


def side_by_side(calls: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """The results by name. Raises the first error as soon as it happens, and at an interrupt leaves at once: calls that
    still wait are left behind, and end when what they wait for does."""
    if not calls:
        return {}
    pool = ThreadPoolExecutor(len(calls))
    try:
        futures = {name: pool.submit(call) for name, call in calls.items()}
        done, _ = wait(futures.values(), return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
        return {name: future.result() for name, future in futures.items()}
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
