"""A whole weight sync, probe included, over one memcpy of the same bytes."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch

from benchmarks.result import Aim, Result, interleave
from benchmarks.workload import Settings, started
from rlsys.roles import Roles, Spawn, SyncReport

AIM = Aim(4.0, more_is_better=False)
WARM_UP = 2
VERSION = 0
"""Of all syncs: nothing is trained between them."""


def run(settings: Settings, spawn: Spawn) -> Iterator[Result]:
    with started(settings, spawn) as roles:
        measured, report = measure(roles, settings.repeats)
    details = {"bytes": report.bytes, "tensors": report.tensors, "probe gap": report.probe_gap}
    yield Result(
        "sync", settings.size, "time: weight sync with proof / memcpy of its bytes", "ms", *measured, AIM, details
    )


def measure(roles: Roles, repeats: int) -> tuple[tuple[tuple[float, ...], tuple[float, ...]], SyncReport]:
    """Milliseconds of syncs and of copies in turn, and what a sync brings."""
    torch.set_num_threads(1)
    sync = roles.weight_sync
    assert sync is not None
    report = sync.sync(VERSION)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    source, target = (torch.full((report.bytes,), fill, dtype=torch.uint8, device=device) for fill in (0, 1))

    def ours() -> float:
        begun = time.perf_counter()
        sync.sync(VERSION)
        return 1e3 * (time.perf_counter() - begun)

    def baseline() -> float:
        begun = time.perf_counter()
        target.copy_(source)
        if device == "cuda":
            torch.cuda.synchronize()
        return 1e3 * (time.perf_counter() - begun)

    interleave(ours, baseline, WARM_UP)
    return interleave(ours, baseline, repeats), report
