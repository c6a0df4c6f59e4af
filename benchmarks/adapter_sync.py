"""LoRA of rank 16, all linear layers: sent alone, over one memcpy of its own bytes and over a sync of whole merged
weights. The two syncs are measured one after the other, each with actors of its own."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.result import Aim, Result
from benchmarks.sync import measure
from benchmarks.workload import Settings, started
from rlsys.roles import Spawn

ADAPTER = "model.adapter={kind: lora, rank: 16}"
BYTES = Aim(0.1, more_is_better=False)


def run(settings: Settings, spawn: Spawn) -> Iterator[Result]:
    found = {}
    for content in ("adapter", "merged"):
        with started(settings, spawn, ADAPTER, f"weight_sync.content={content}") as roles:
            found[content] = measure(roles, settings.repeats)
    ((alone, copies), report), ((whole, _), of_whole) = found["adapter"], found["merged"]
    details = {"bytes": report.bytes, "tensors": report.tensors, "probe gap": report.probe_gap}

    def result(
        what: str, unit: str, ours: tuple[float, ...], baseline: tuple[float, ...], aim: Aim | None = None
    ) -> Result:
        return Result("adapter_sync", settings.size, what, unit, ours, baseline, aim, details)

    yield result("time: adapter sync with proof / memcpy of its bytes", "ms", alone, copies)
    yield result("time: adapter sync / sync of merged weights", "ms", alone, whole)
    mb, of_all = report.bytes / 1e6, of_whole.bytes / 1e6
    yield result("bytes: adapter sync / sync of merged weights", "MB", (mb,), (of_all,), BYTES)
