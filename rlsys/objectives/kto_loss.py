"""KTO: answers that are each called good or bad, without a partner (Ethayarajh et al. 2024, arXiv 2402.01306, equation
8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from rlsys.objectives.outputs import Outputs
from rlsys.objectives.preference_loss import of_answers
from rlsys.objectives.stats import Mean, Stats, masked_mean

if TYPE_CHECKING:
    from torch import Tensor


class HasLabels(Protocol):
    """What the loss reads of a batch (`rlsys.batch.LabelledBatch` has it). desirable_B: bool. reference_log_probs_B:
    float32, summed over each answer's trained tokens."""

    @property
    def loss_mask_BT(self) -> Tensor: ...
    @property
    def desirable_B(self) -> Tensor: ...
    @property
    def reference_log_probs_B(self) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class KTOLoss:
    """Mean over answers of weight x (1 - sigmoid(h)) for desirable ones and weight x (1 - sigmoid(-h)) for the others.
    A `roles.LikelihoodLoss`.

    h = beta (log pi(y) - log ref(y) - z0), log-probs summed over the answer's trained tokens. z0, the reference point,
    is an estimate in nats of the KL of policy and reference, a number without gradient: see `reference_point`.

    Statistics: `loss`; `accuracy`, the share of answers on their label's side of the reference point (h > 0; a tie
    counts half); of the desirable and undesirable answers, `desirable_log_prob`, `undesirable_log_prob` (summed over
    tokens, nats), and `desirable_reward`, `undesirable_reward` (beta times the log-ratio). ValueError for settings that
    mean nothing.
    """

    beta: float = 0.1
    z0: float = 0.0
    desirable_weight: float = 1.0
    undesirable_weight: float = 1.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        for name, value in (
            ("beta", self.beta),
            ("desirable_weight", self.desirable_weight),
            ("undesirable_weight", self.undesirable_weight),
        ):
            if not value > 0:
                raise ValueError(f"{name} must be above 0, not {value}")
        if not self.z0 >= 0:
            raise ValueError(f"z0 stands for a KL, so it must be at least 0, not {self.z0}")

    @property
    def needs_entropy(self) -> bool:
        return False

    def normalizer(self, batch: HasLabels) -> float:
        """Answers."""
        return float(len(batch.desirable_B))

    def __call__(self, outputs: Outputs, batch: HasLabels) -> tuple[Tensor, Stats]:
        answers, good_B = of_answers(outputs, batch, batch.reference_log_probs_B), batch.desirable_B
        ratio_B = answers.log_probs_B - answers.reference_B
        h_B = torch.where(good_B, 1, -1) * self.beta * (ratio_B - self.z0)
        weight_B = torch.where(good_B, self.desirable_weight, self.undesirable_weight).to(h_B)
        loss = (weight_B * torch.sigmoid(-h_B)).sum()
        return loss, {
            "loss": Mean(float(loss.detach()), len(good_B)),
            "accuracy": masked_mean((h_B.sign() + 1) / 2, torch.ones_like(good_B)),
            "desirable_log_prob": masked_mean(answers.log_probs_B, good_B),
            "undesirable_log_prob": masked_mean(answers.log_probs_B, ~good_B),
            "desirable_reward": masked_mean(self.beta * ratio_B, good_B),
            "undesirable_reward": masked_mean(self.beta * ratio_B, ~good_B),
        }


def reference_point(log_probs_B: Tensor, reference_log_probs_B: Tensor) -> float:
    """z0 from answers set after prompts that they do not belong to: max(0, mean of log pi - log ref), summed over
    tokens, in nats (section 4.1 of the paper). The clamp at 0 is the paper's, since a KL is not negative."""
    return max(0.0, float((log_probs_B.double() - reference_log_probs_B.double()).mean()))
