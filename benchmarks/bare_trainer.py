"""A bare PyTorch training loop in a plain process: the baseline of the trainer. Nothing of ours is imported but the
pipe."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.child import serve


class Trainer:
    """Answers `model` (load it, and the batch) and `step` (one optimizer step over the whole batch)."""

    def __call__(self, message: dict[str, Any]) -> dict[str, Any]:
        match message:
            case {"model": model, "batch": batch, "micro_batches": micro_batches, "policy": policy}:
                self.start(model, batch, micro_batches, policy)
                return {}
            case {"step": _}:
                return self.step()
        raise ValueError(f"no such request: {sorted(message)}")

    def start(self, model: str, batch: str, micro_batches: list[list[int]], policy: dict[str, Any]) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(policy["threads"])
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).train()
        self.model.to(device)
        self.max_grad_norm = policy["max_grad_norm"]
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=policy["learning_rate"],
            betas=tuple(policy["betas"]),
            weight_decay=policy["weight_decay"],
            fused=True,
        )
        tensors = torch.load(batch, map_location=device)
        self.trained = int(tensors["loss_mask"].sum())
        self.micro_batches = []
        for rows in micro_batches:
            width = int(tensors["lengths"][rows].max())
            self.micro_batches.append((tensors["token_ids"][rows, :width], tensors["loss_mask"][rows, :width]))

    def step(self) -> dict[str, Any]:
        """Mean negative log-likelihood over the trained tokens (before the step), and the seconds it took."""
        import torch
        from torch.nn.functional import cross_entropy

        started = time.perf_counter()
        total = 0.0
        for token_ids, mask in self.micro_batches:
            hidden = self.model.base_model(input_ids=token_ids, use_cache=False).last_hidden_state
            logits = self.model.lm_head(hidden[:, :-1][mask[:, 1:]])
            loss = cross_entropy(logits, token_ids[:, 1:][mask[:, 1:]], reduction="sum") / self.trained
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return {"seconds": time.perf_counter() - started, "loss": total}


if __name__ == "__main__":
    serve(Trainer())
