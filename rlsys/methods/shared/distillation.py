"""What distillation from given rows and from a student's own samples have in common: which divergence, and what the
teacher says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from pydantic import Field, model_validator

from rlsys.batch import DistillationBatch
from rlsys.methods.base import Experience, MethodConfig
from rlsys.objectives.distillation_loss import DistillationLoss, DivergenceName


class Divergence(MethodConfig):
    divergence: DivergenceName = "forward_kl"
    """forward_kl, KL(teacher || student), covers all that the teacher may say; reverse_kl, KL(student || teacher),
    keeps to what it finds likely; jsd lies between them."""
    beta: float = Field(default=0.5, gt=0, lt=1)
    """For jsd: near 0 it is like forward_kl, near 1 like reverse_kl."""

    @model_validator(mode="after")
    def _beta_is_read(self) -> Self:
        if self.divergence != "jsd" and self.beta != type(self).model_fields["beta"].default:
            raise ValueError(f"beta has no effect: it goes with divergence of jsd, and divergence is {self.divergence}")
        return self

    def loss(self, temperature: float, ce_weight: float = 0.0) -> DistillationLoss:
        return DistillationLoss(self.divergence, self.beta, temperature, ce_weight)


@dataclass(frozen=True)
class Taught(Experience):
    batch: DistillationBatch | None = None
