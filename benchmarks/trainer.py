"""Trainer tokens/s of one rank under Ray and DeepSpeed, over a bare PyTorch loop in one process: same weights,
micro-batches, loss, AdamW."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch

from benchmarks.child import child
from benchmarks.result import Aim, Result, interleave
from benchmarks.workload import Settings, experiment, started, training_batch
from rlsys.errors import RlsysError
from rlsys.models.micro_batches import micro_batches
from rlsys.objectives.likelihood_loss import CrossEntropyLoss
from rlsys.objectives.stats import values
from rlsys.roles import Spawn

AIM = Aim(0.90, more_is_better=True)
WARM_UP = 2
LOSS_TOLERANCE = 1e-4
"""Both sides start equal and see the same data, so their losses stay equal, up to rounding; else they don't do the same
work."""


def run(settings: Settings, spawn: Spawn) -> Iterator[Result]:
    batch = training_batch(settings)
    policy = experiment(settings).policy
    (planned,) = micro_batches(batch.lengths_B.tolist(), 1, policy.tokens_per_micro_batch, packed=False)
    file = settings.folder / f"batch-{settings.size}.pt"
    torch.save({"token_ids": batch.token_ids_BT, "loss_mask": batch.loss_mask_BT, "lengths": batch.lengths_B}, file)
    tokens = int(batch.lengths_B.sum())
    losses: list[tuple[float, float]] = []

    environment = {"OMP_NUM_THREADS": str(policy.threads)}
    with (
        started(settings, spawn) as roles,
        child("benchmarks.bare_trainer", environment, settings.log("bare_trainer")) as bare,
    ):
        bare.ask(model=str(settings.model), batch=str(file), micro_batches=planned, policy=policy.model_dump())

        def ours() -> float:
            assert roles.policy is not None
            begun = time.perf_counter()
            stats = roles.policy.forward_backward(batch, CrossEntropyLoss())
            roles.policy.optimizer_step()
            seconds = time.perf_counter() - begun
            losses.append((values(stats)["loss"], 0.0))
            return tokens / seconds

        def baseline() -> float:
            answer = bare.ask(step=len(losses))
            losses[-1] = (losses[-1][0], answer["loss"])
            return tokens / answer["seconds"]

        interleave(ours, baseline, WARM_UP)
        measured = interleave(ours, baseline, settings.repeats)
    gap = max(abs(one - other) for one, other in losses)
    if gap > LOSS_TOLERANCE:
        raise RlsysError(f"both trainers should do the same work, but their losses differ by {gap:.2g}: {losses}")
    details = {"tokens per step": tokens, "micro-batches": len(planned), "largest difference of the losses": gap}
    yield Result(
        "trainer", settings.size, "tokens/s: policy rank / bare PyTorch loop", "tokens/s", *measured, AIM, details
    )
