from __future__ import annotations

import threading
import time

import pytest

from rlsys.side_by_side import side_by_side


def test_calls_wait_at_the_same_time():
    met = threading.Barrier(2)
    assert side_by_side({"a": lambda: met.wait(timeout=10) >= 0, "b": lambda: met.wait(timeout=10) >= 0}) == {
        "a": True,
        "b": True,
    }
    assert side_by_side({}) == {}


def test_an_error_does_not_wait_for_the_others():
    release = threading.Event()

    def fails() -> None:
        raise ValueError("the critic died")

    started = time.monotonic()
    with pytest.raises(ValueError, match="the critic died"):
        side_by_side({"slow": lambda: release.wait(timeout=30), "fails": fails})
    assert time.monotonic() - started < 10
    release.set()
