"""A learn step with LoRA of rank 16 beside one of full training: its time, and the trainer's peak memory; and the
memory of the reference that is not loaded, as the policy with its adapter switched off is it."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from benchmarks.child import Child, child
from benchmarks.result import Result, interleave
from benchmarks.workload import Settings
from rlsys.errors import RlsysError
from rlsys.roles import Spawn

LORA = "{kind: lora, rank: 16}"
TOLERANCE = 1e-6
"""Of log-probs (nats) of the policy with its adapter switched off and of a reference of its own; and of both sides'
first losses, as an adapter at first changes nothing."""
MB = 1e6


def run(settings: Settings, spawn: Spawn) -> Iterator[Result]:
    """Each side is a process of its own with one rank of the trainer, without Ray."""
    environment = {"OMP_NUM_THREADS": "1"}
    about = {"size": settings.size, "folder": str(settings.folder), "quick": settings.quick}
    name = "benchmarks.one_rank"
    with (
        child(name, environment, settings.log("lora")) as lora,
        child(name, environment, settings.log("full")) as full,
        child(name, environment, settings.log("reference")) as reference,
    ):
        lora.ask(role="policy", adapter=LORA, **about)
        full.ask(role="policy", adapter="null", **about)
        reference.ask(role="reference", **about)
        gap = abs(lora.ask(do="learn")["loss"] - full.ask(do="learn")["loss"])  # also warms up
        if gap > TOLERANCE:
            raise RlsysError(f"both trainers begin with the same model, and their losses differ by {gap:.2g}")
        steps: dict[str, list[dict[str, float]]] = {"lora": [], "full": []}

        def learn(side: str, process: Child) -> float:
            steps[side].append(process.ask(do="learn"))
            return steps[side][-1]["seconds"]

        times = interleave(lambda: learn("lora", lora), lambda: learn("full", full), settings.repeats)
        shared, own = lora.ask(do="refer"), reference.ask(do="refer")
    gap = max(abs(one - other) for one, other in zip(shared["log_probs"], own["log_probs"], strict=True))
    if gap > TOLERANCE:
        raise RlsysError(f"the policy with its adapter off and a reference of its own differ by {gap:.2g} nats")

    peaks = {side: tuple(step["peak"] / MB for step in found) for side, found in steps.items()}
    held = {f"{side}: {part}, MB": steps[side][-1][part] / MB for side in steps for part in ("before", "peak")}
    yield Result("adapter", settings.size, "time of a learn step: LoRA / full training", "s", *times, details=held)
    yield Result(
        "adapter", settings.size, "trainer's peak memory: LoRA / full training", "MB", peaks["lora"], peaks["full"]
    )
    # What a process has alone: of its libraries' pages others have a part.
    with_one = median(peaks["lora"]) + own["whole"] / MB
    details = {
        "reference's process, MB": own["whole"] / MB,
        "of it model and forward pass, MB": own["peak"] / MB,
        "policy's peak as its own reference, MB": shared["peak"] / MB,
        "largest difference of the log-probs, nats": gap,
    }
    alone = max(median(peaks["lora"]), shared["peak"] / MB)
    measure = "memory of policy and reference, LoRA: one is the other / a process each"
    yield Result("adapter", settings.size, measure, "MB", (alone,), (with_one,), details=details)
