"""Supervised fine-tuning: cross-entropy on the assistant's tokens of demonstrations, or on all tokens of raw text
(continued pre-training).

No sampling, no reward. Rows are put together into micro-batches by `policy.tokens_per_micro_batch`, and with
`policy.packing=packed` (or `auto` with flash attention) without any padding; rows never see each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import PositiveInt

from rlsys.batch import Batch
from rlsys.config.sampling import SamplingConfig
from rlsys.data.collate import collate
from rlsys.data.load import Demonstration
from rlsys.data.stream import Source
from rlsys.methods.base import Experience, Facts, Learned, Measured, MethodConfig, RowKind, Step
from rlsys.methods.shared.likelihood import likelihood
from rlsys.methods.shared.update import update
from rlsys.objectives.likelihood_loss import CrossEntropyLoss
from rlsys.roles import Roles

LOSS = CrossEntropyLoss()


class Config(MethodConfig):
    name: str = "sft"
    """This file."""
    tokens: Literal["assistant", "all"] = "assistant"
    """What is trained: the assistant's turns of demonstrations, or `all` of raw text, whose documents are cut into
    blocks of max_tokens."""
    batch_size: PositiveInt = 256
    """Demonstrations (or blocks) of one optimizer step."""
    max_tokens: PositiveInt = 2048
    """Longer demonstrations are left out, and counted; of raw text, the length of a block."""

    @property
    def facts(self) -> Facts:
        rows: RowKind = "texts" if self.tokens == "all" else "demonstrations"
        return Facts(rows, frozenset({"policy"}), rows_per_step=self.batch_size, measures=True)


@dataclass(frozen=True)
class Demonstrations(Experience):
    batch: Batch | None = None


@dataclass(frozen=True)
class Method:
    config: Config
    sampling: SamplingConfig
    pad_id: int

    def collect(self, roles: Roles, source: Source[Demonstration], step: Step) -> Demonstrations:
        batch = collate(source.take(self.config.batch_size), self.pad_id)
        return Demonstrations(step.version, metrics={"data/tokens": float(batch.lengths_B.sum())}, batch=batch)

    def learn(self, roles: Roles, experience: Experience, step: Step) -> Learned:
        assert isinstance(experience, Demonstrations)
        assert experience.batch is not None
        assert roles.policy is not None
        return Learned(update(roles.policy, experience.batch, LOSS, 1, 1, step.seed, step.number))

    def measure(self, roles: Roles, rows: Sequence[Demonstration]) -> Measured:
        """`nll`, the mean over all trained tokens of the rows (nats), and `perplexity`, its exponential. The score is
        -nll."""
        assert roles.policy is not None
        total, tokens = likelihood(roles.policy, rows, self.pad_id, self.config.batch_size, LOSS.temperature)
        nll = torch.tensor(-total / tokens, dtype=torch.float64)
        return Measured({"nll": float(nll), "perplexity": float(nll.exp())}, score=-float(nll))
