"""One optimizer step of a DeepSpeed rank: reduce the gradient, clip, update; or drop it where it is no number."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import nn

from rlsys.objectives.stats import Max, Mean, Stats

Change = Callable[[], None]
"""Changes this rank's part of the whole batch's gradient, in place."""


class OptimizerStep:
    """`engine` is DeepSpeed's, around `network`."""

    def __init__(self, engine: Any, network: nn.Module, zero_stage: int) -> None:
        self.engine, self.network, self.zero_stage = engine, network, zero_stage
        self._change: Change | None = None
        if zero_stage > 0:
            # Ranks reduce gradients within DeepSpeed's step, so that only its optimizer's sees them whole.
            update = engine.optimizer.step

            def changed_update(*arguments: Any, **settings: Any) -> Any:
                if self._change is not None:
                    self._change()
                return update(*arguments, **settings)

            engine.optimizer.step = changed_update

    def __call__(self, scale: float = 1.0, change: Change | None = None) -> Stats:
        """At `scale` times the schedule's learning rate. `change` comes after the reduction and before clipping. A
        gradient that is not finite on any rank is dropped on all: weights, optimizer and schedule stay as they are."""
        # After the step the schedule writes the next one's rate, from the peak and not from this one.
        groups = self.engine.optimizer.param_groups
        rates = [group["lr"] for group in groups]
        for group in groups:
            group["lr"] *= scale
        learning_rate = self.engine.get_lr()[0]
        grad_norm = self._without_zero(change) if self.zero_stage == 0 else self._with_zero(change)
        # ZeRO skips the update and gives inf or -1 where the gradient holds an inf or a NaN.
        if not math.isfinite(grad_norm) or grad_norm < 0:
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = rate
            return {"updates_skipped": Mean(1.0, 1.0), "learning_rate": Mean(learning_rate, 1.0)}
        return {
            "updates_skipped": Mean(0.0, 1.0),
            "grad_norm": Mean(grad_norm, 1.0),
            "grad_norm_max": Max(grad_norm),
            "learning_rate": Mean(learning_rate, 1.0),
        }

    def _without_zero(self, change: Change | None) -> float:
        """ZeRO 0 does not tell the gradient's norm, so average over the ranks here, and compute it."""
        self.engine.set_gradient_accumulation_boundary(True)
        self.engine.allreduce_gradients()
        if change is not None:
            change()
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        grad_norm = float(nn.utils.get_total_norm(gradients))
        if math.isfinite(grad_norm):
            self.engine.step()
        else:
            self.engine.zero_grad()
            self.engine.optimizer.zero_grad()
        return grad_norm

    def _with_zero(self, change: Change | None) -> float:
        self._change = change
        try:
            self.engine.step()
        finally:
            self._change = None
        return float(self.engine.get_global_grad_norm())
