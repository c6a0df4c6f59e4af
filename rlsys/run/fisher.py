"""The Fisher information of a finished task, on rows of what its method trains on.

Its diagonal, F = mean over rows of (d log p(y | x) / d theta)^2, is of single rows, never of a mean gradient; y is all
that the method trains on in the row. Where the policy sampled y itself, as in GRPO, F is the Fisher information that
Kirkpatrick et al. 2017 mean; where y is of a data set, as in SFT, it is the empirical one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rlsys.batch import Batch
from rlsys.errors import RunError
from rlsys.methods.base import Step
from rlsys.objectives.stats import Mean, Stats
from rlsys.roles import Critic, Policy
from rlsys.run.history import RunHistory
from rlsys.run.loop import Loop

UNCHANGED: Stats = {"updates_skipped": Mean(0.0, 1.0)}


def add_fisher(loop: Loop, samples: int) -> None:
    """Of `samples` rows: the next that the method would train on, if it went on. Nothing is trained. Raises RunError if
    a step of it has none."""
    roles, state = loop.roles, loop.state
    assert roles.policy is not None, "rlsys.check refuses ewc without a policy in training"
    if state.best_step is not None:  # samplers hold the last weights, not the best
        loop.sync()
    observed = Observed(roles.policy, samples)
    critic = roles.critic and Resting(roles.critic)
    quiet: Any = replace(roles, policy=observed, critic=critic)
    number = state.step
    while observed.left:
        number, before = number + 1, observed.left
        history = RunHistory(loop.ledger, loop.dataset)
        step = Step(number, state.version, loop.experiment.seed, state.memory, history)
        loop.method.learn(quiet, loop.method.collect(quiet, loop.source, step), step)
        if observed.left == before:
            raise RunError(
                f"{loop.run_dir.path}: {samples - before} rows for the Fisher information, and ewc.samples={samples}: "
                "a further step had nothing to train on; lower ewc.samples, or set it to 0"
            )


@dataclass
class Observed:
    """A policy of which only the Fisher information is taken, where it would be trained."""

    policy: Policy
    left: int
    """Rows that are still wanted."""

    def forward_backward(self, batch: Any, loss: Any) -> Stats:
        taken = min(len(batch), self.left)
        if taken:
            rows = Batch(batch.token_ids_BT, batch.loss_mask_BT, batch.lengths_B)
            self.policy.add_fisher(rows.rows(torch.arange(taken)))
            self.left -= taken
        return self.policy.evaluate(batch, loss)

    def optimizer_step(self, scale: float = 1.0) -> Stats:
        return UNCHANGED

    def log_probs(self, batch: Batch, temperature: float) -> Tensor:
        return self.policy.log_probs(batch, temperature)

    def evaluate(self, batch: Any, loss: Any) -> Stats:
        return self.policy.evaluate(batch, loss)


@dataclass
class Resting:
    """A critic that learns nothing more."""

    critic: Critic

    def forward_backward(self, batch: Any, loss: Any) -> Stats:
        return {}

    def optimizer_step(self, scale: float = 1.0) -> Stats:
        return UNCHANGED

    def values(self, batch: Batch) -> Tensor:
        return self.critic.values(batch)

    def scores(self, batch: Batch) -> Tensor:
        return self.critic.scores(batch)
