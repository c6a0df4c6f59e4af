"""One rank of the trainer, or a frozen reference, in a plain process that measures its own memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.child import serve


class Rank:
    """Answers `role` (load the model), `learn` (one optimizer step over the whole batch) and `refer` (the reference's
    log-probs of the batch).

    `peak`: bytes at most while it answered, and `before`: those beforehand, both beyond those of the process before it
    had a model. On a GPU it is the GPU's memory that counts.
    """

    def __call__(self, message: dict[str, Any]) -> dict[str, Any]:
        match message:
            case {"role": role, "size": size, "folder": folder, "quick": quick}:
                self.start(role, size, Path(folder), quick, message.get("adapter", "null"))
                return {}
            case {"do": "learn"}:
                return self.measured(self.learn)
            case {"do": "refer"}:
                return self.measured(self.refer)
        raise ValueError(f"no such request: {sorted(message)}")

    def start(self, role: str, size: str, folder: Path, quick: bool, adapter: str) -> None:
        import torch

        from actors.engines.deepspeed_engine import TrainEngine
        from actors.engines.deepspeed_setup import LOOPBACK, World, open_store
        from actors.frozen import FrozenActor
        from benchmarks.child import TIMEOUT
        from benchmarks.workload import Settings, experiment, training_batch
        from rlsys.models.micro_batches import micro_batches

        settings = Settings(size, 1, folder, quick)
        config = experiment(settings, f"model.adapter={adapter}")
        self.batch, model = training_batch(settings), settings.model
        budget = config.policy.tokens_per_micro_batch
        (self.planned,) = micro_batches(self.batch.lengths_B.tolist(), 1, budget, packed=False)
        torch.set_num_threads(config.policy.threads)
        self.nothing = resident()
        if role == "reference":
            self.frozen = FrozenActor(config.model, config.policy.threads, model, scalar=False)
            self.frozen.start()
        else:
            self.store = open_store(LOOPBACK, 1, TIMEOUT)
            world = World(0, 1, f"{LOOPBACK}:{self.store.port}", TIMEOUT)
            self.frozen = None
            self.engine = TrainEngine(config.model, config.policy, model, 1000, config.seed, world)

    def measured(self, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        import psutil

        before = resident() - self.nothing
        forget_peak()
        begun = time.perf_counter()
        answer = work()
        seconds = time.perf_counter() - begun
        whole = psutil.Process().memory_full_info().uss
        return {"seconds": seconds, "before": before, "peak": peak() - self.nothing, "whole": whole, **answer}

    def learn(self) -> dict[str, Any]:
        from rlsys.objectives.likelihood_loss import CrossEntropyLoss
        from rlsys.objectives.stats import values

        loss = CrossEntropyLoss()
        stats = self.engine.forward_backward(self.batch, self.planned, loss, loss.normalizer(self.batch))
        self.engine.optimizer_step()
        return {"loss": values(stats)["loss"]}

    def refer(self) -> dict[str, Any]:
        if self.frozen is not None:
            found = self.frozen.log_probs(self.batch, self.planned, 1.0)
        else:
            with self.engine.adapter.disabled():
                found = self.engine.log_probs(self.batch, self.planned, 1.0)
        return {"log_probs": found.flatten().tolist()}


def resident() -> int:
    """Bytes in use now."""
    import psutil
    import torch

    return torch.cuda.memory_allocated() if torch.cuda.is_available() else psutil.Process().memory_info().rss


def forget_peak() -> None:
    """Let `peak` begin anew."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak() -> int:
    """The most bytes in use since."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    serve(Rank())
