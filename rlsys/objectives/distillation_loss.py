"""Distillation: bring a student's next-token distributions near a teacher's, at every trained place of given rows.

A teacher names K tokens and their log-probs. What is compared are K + 1 outcomes: each of these tokens, and any other
token. Both models give whole probability distributions over them, so nothing is renormalised and a student can't hide
mass among the tokens that were not named. Merging outcomes never makes two distributions easier to tell apart (the
data-processing inequality), so each divergence here is a lower bound of the same one over the vocabulary, and equal to
it when K names all of it. Gradients flow to the student only, and never through the sampling of the rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

import torch

from rlsys.objectives.outputs import Outputs
from rlsys.objectives.reduction import Reduction, TokenMean, normalizer
from rlsys.objectives.stats import Mean, Stats, masked_mean

if TYPE_CHECKING:
    from torch import Tensor

DivergenceName = Literal["forward_kl", "reverse_kl", "jsd"]


class TaughtTokens(Protocol):
    """What the loss reads of a batch (`rlsys.batch.DistillationBatch`)."""

    @property
    def loss_mask_BT(self) -> Tensor: ...

    @property
    def teacher_log_probs_BTO(self) -> Tensor: ...


def kl(p_NO: Tensor, q_NO: Tensor) -> Tensor:
    """KL(p || q) = sum_o p (log p - log q) of log-probs, nats, [N]."""
    return (p_NO.exp() * (p_NO - q_NO)).sum(-1)


def jsd(teacher_NO: Tensor, student_NO: Tensor, beta: float) -> Tensor:
    """beta KL(teacher || m) + (1 - beta) KL(student || m) with m = beta teacher + (1 - beta) student, of log-probs,
    nats, [N].

    The generalised Jensen-Shannon divergence of Agarwal et al. 2024 (GKD, arXiv 2306.13649, section 2), P the teacher,
    Q the student. Divided by beta it tends to the forward KL as beta tends to 0, divided by 1 - beta to the reverse KL
    as beta tends to 1. At most the entropy of (beta, 1 - beta), ln 2 at 1/2, whatever the models say.
    """
    mixed_NO = torch.logaddexp(teacher_NO + math.log(beta), student_NO + math.log1p(-beta))
    return beta * kl(teacher_NO, mixed_NO) + (1 - beta) * kl(student_NO, mixed_NO)


@dataclass(frozen=True, slots=True)
class DistillationLoss:
    """A divergence per trained token, reduced, plus `ce_weight` times the cross-entropy on the rows' own tokens.

    `forward_kl`: KL(teacher || student), covers all that the teacher may say. `reverse_kl`: KL(student || teacher),
    keeps to what the teacher finds likely. `jsd`: see `jsd`; `beta`, above 0 and below 1, is read by it alone.
    `temperature` is that of both models' softmax; the loss is not multiplied by its square.

    Statistics, over tokens: `loss` (as reduced, all terms); `forward_kl` and `reverse_kl`, whichever is trained; `nll`
    of the rows' own tokens; `teacher_entropy` over its outcomes, and `teacher_mass`, the probability of the tokens that
    it names; `agreement`, how often the student's most likely one of these is the teacher's.
    """

    kind: DivergenceName = "forward_kl"
    beta: float = 0.5
    temperature: float = 1.0
    ce_weight: float = 0.0
    reduction: Reduction = field(default_factory=TokenMean)

    @property
    def needs_entropy(self) -> bool:
        return False

    def normalizer(self, batch: TaughtTokens) -> float:
        return normalizer(self.reduction, batch.loss_mask_BT)

    def divergence(self, teacher_NO: Tensor, student_NO: Tensor) -> Tensor:
        """Of log-probs, [N]."""
        match self.kind:
            case "forward_kl":
                return kl(teacher_NO, student_NO)
            case "reverse_kl":
                return kl(student_NO, teacher_NO)
            case "jsd":
                return jsd(teacher_NO, student_NO, self.beta)

    def __call__(self, outputs: Outputs, batch: TaughtTokens) -> tuple[Tensor, Stats]:
        assert outputs.outcomes_BTO is not None, "distillation needs a DistillationBatch"
        mask_BT, nll_BT = batch.loss_mask_BT, -outputs.log_probs_BT
        teacher_NO, student_NO = batch.teacher_log_probs_BTO[mask_BT], outputs.outcomes_BTO[mask_BT]
        divergence_N = self.divergence(teacher_NO, student_NO)
        loss_BT = divergence_N.new_zeros(mask_BT.shape).masked_scatter(mask_BT, divergence_N)
        if self.ce_weight:
            loss_BT = loss_BT + self.ce_weight * nll_BT
        loss = self.reduction.sum(loss_BT, mask_BT)
        stats = {"loss": Mean(float(loss.detach()), self.reduction.count(mask_BT)), "nll": masked_mean(nll_BT, mask_BT)}
        return loss, stats | comparison(teacher_NO, student_NO.detach())


def comparison(teacher_NO: Tensor, student_NO: Tensor) -> Stats:
    """How two models differ, mean over places."""
    agree_N = student_NO[:, :-1].argmax(-1) == teacher_NO[:, :-1].argmax(-1)
    per_place = {
        "forward_kl": kl(teacher_NO, student_NO),
        "reverse_kl": kl(student_NO, teacher_NO),
        "teacher_entropy": -(teacher_NO.exp() * teacher_NO).sum(-1),
        "teacher_mass": teacher_NO[:, :-1].exp().sum(-1),
        "agreement": agree_N,
    }
    return {name: Mean(float(values_N.double().sum()), float(len(values_N))) for name, values_N in per_place.items()}
