"""Losses on pairs of answers to one prompt, of which one is preferred: DPO and its relatives. Pure functions of
log-probs.

A kind is a row of `KINDS`. It chooses what an answer scores and what a margin costs; everything else is common to all.

- **Score** s of an answer y, from its trained tokens: `ratio`, log pi(y) - log ref(y), summed; with `length_normalized`
  its mean over tokens, with `reference_free` without the reference. `mean`: log pi(y), mean over tokens. `odds`: log of
  p / (1 - p), where log p is that mean.
- **Cost** l of a pair's margin g = s(chosen) - s(rejected), where h = beta g: `logistic`, -log sigmoid(h - gamma).
  `hinge`, max(0, 1 + gamma - h). `square`, (g - 1 / (2 beta))^2. `weighted_logistic`, beta times -log sigmoid(g).
- **Belief** w in the label: a pair costs w l(g) + (1 - w) l(-g), what is expected of either order. With p =
  `preference_B` (1 where labels are certain) and eps = `label_smoothing`: `smoothed`, w = (1 - eps) p + eps (1 - p): a
  label is wrong with probability eps. `unbiased`, w = (p - eps) / (1 - 2 eps), the same believed of the data, and its
  effect taken out: the expectation over flipped labels is the loss of the true ones. It has no lower bound.

| kind | score | cost | belief | source |
|---|---|---|---|---|
| `dpo` | ratio | logistic | smoothed | Rafailov et al. 2023, arXiv 2305.18290, equation 7 |
| `cdpo` | ratio | logistic | smoothed, eps > 0 | Mitchell 2023, "A note on DPO with noisy preferences" |
| `robust_dpo` | ratio | logistic | unbiased, eps > 0 | Chowdhury et al. 2024, arXiv 2403.00409 (rDPO) |
| `slic` | ratio | hinge | smoothed | Zhao et al. 2023, arXiv 2305.10425, equation 1; on ratios: arXiv 2309.06657 |
| `ipo` | ratio | square | smoothed | Azar et al. 2023, arXiv 2310.12036, equation 17, whose tau is beta |
| `orpo` | odds | weighted_logistic | smoothed | Hong et al. 2024, arXiv 2403.07691, equations 6 and 7, lambda = beta |
| `simpo` | mean | logistic | smoothed | Meng et al. 2024, arXiv 2405.14734, equation 6, with its gamma |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import torch

from rlsys.objectives.outputs import Outputs
from rlsys.objectives.reward_model_loss import Comparisons, pairs, pairs_of_its_unit, units
from rlsys.objectives.stats import Mean, Stats, masked_mean

if TYPE_CHECKING:
    from torch import Tensor

PreferenceKind = Literal["dpo", "cdpo", "robust_dpo", "slic", "ipo", "orpo", "simpo"]


class Preferences(Comparisons, Protocol):
    """What the loss reads of a batch (`rlsys.batch.PreferenceBatch` has it). reference_log_probs_B: float32, summed
    over each answer's trained tokens; None where no reference is needed."""

    @property
    def loss_mask_BT(self) -> Tensor: ...
    @property
    def reference_log_probs_B(self) -> Tensor | None: ...


@dataclass(frozen=True, slots=True)
class Answers:
    """What a score is made of. log_probs_B: summed over trained tokens. reference_B: the same of the reference, 0
    without one. tokens_B: how many."""

    log_probs_B: Tensor
    reference_B: Tensor
    tokens_B: Tensor

    @property
    def mean_B(self) -> Tensor:
        return self.log_probs_B / self.tokens_B


def ratio(answers: Answers) -> Tensor:
    return answers.log_probs_B - answers.reference_B


def ratio_per_token(answers: Answers) -> Tensor:
    return ratio(answers) / answers.tokens_B


def mean(answers: Answers) -> Tensor:
    return answers.mean_B


def odds(answers: Answers) -> Tensor:
    # log p - log(1 - p); p of exactly 1 in float32 would be infinitely likely, so log p stays below 0 by the smallest
    # step float32 has there.
    log_p_B = answers.mean_B.clamp(max=-torch.finfo(torch.float32).eps)
    return log_p_B - torch.log(-torch.expm1(log_p_B))


def logistic(margin_P: Tensor, beta: float, gamma: float) -> Tensor:
    return -torch.nn.functional.logsigmoid(beta * margin_P - gamma)


def hinge(margin_P: Tensor, beta: float, gamma: float) -> Tensor:
    return torch.nn.functional.relu(1 + gamma - beta * margin_P)


def square(margin_P: Tensor, beta: float, gamma: float) -> Tensor:
    return (margin_P - 1 / (2 * beta)).square()


def weighted_logistic(margin_P: Tensor, beta: float, gamma: float) -> Tensor:
    return -beta * torch.nn.functional.logsigmoid(margin_P)


def smoothed(preference_P: Tensor, eps: float) -> Tensor:
    return (1 - eps) * preference_P + eps * (1 - preference_P)


def unbiased(preference_P: Tensor, eps: float) -> Tensor:
    return (preference_P - eps) / (1 - 2 * eps)


@dataclass(frozen=True, slots=True)
class Kind:
    """A row of the table. `imitates`: weight of -log pi(chosen) that belongs to the loss. `wants_noise`: with eps 0 it
    would be another kind."""

    score: Callable[[Answers], Tensor]
    cost: Callable[[Tensor, float, float], Tensor]
    belief: Callable[[Tensor, float], Tensor] = smoothed
    imitates: float = 0.0
    wants_noise: bool = False


KINDS: dict[PreferenceKind, Kind] = {
    "dpo": Kind(ratio, logistic),
    "cdpo": Kind(ratio, logistic, wants_noise=True),
    "robust_dpo": Kind(ratio, logistic, unbiased, wants_noise=True),
    "slic": Kind(ratio, hinge),
    "ipo": Kind(ratio, square),
    "orpo": Kind(odds, weighted_logistic, imitates=1.0),
    "simpo": Kind(mean, logistic),
}


@dataclass(frozen=True, slots=True)
class PreferenceLoss:
    """Mean over units of the mean over their pairs of what the pair costs (see the module). A `roles.LikelihoodLoss`.

    A unit of k answers makes up to k (k - 1) / 2 pairs; equal grades make none, and a unit without pairs is left out.
    `sft_weight` times -log pi(chosen), mean over its tokens, is added to each pair (of a soft label p: p parts of the
    one answer, 1 - p of the other).

    Statistics: `loss` (as reduced); over pairs `margin` (h), `accuracy` (h > 0; a tie counts half), `chosen_log_prob`
    and `rejected_log_prob` (summed over tokens, nats), `chosen_reward` and `rejected_reward` (beta s). Chosen is the
    answer with the higher grade, however soft the label.

    ValueError for settings that mean nothing.
    """

    kind: PreferenceKind = "dpo"
    beta: float = 0.1
    gamma: float = 0.0
    label_smoothing: float = 0.0
    sft_weight: float = 0.0
    length_normalized: bool = False
    reference_free: bool = False
    temperature: float = 1.0

    def __post_init__(self) -> None:
        row = KINDS[self.kind]
        ratios = row.score is ratio
        wrong = {
            f"beta must be above 0, not {self.beta}": not self.beta > 0,
            f"gamma must be at least 0, not {self.gamma}": not self.gamma >= 0,
            f"gamma: {self.kind} asks for no margin; leave it at 0": self.gamma
            and row.cost in (square, weighted_logistic),
            f"label_smoothing must be at least 0 and below 0.5, not {self.label_smoothing}": not 0
            <= self.label_smoothing
            < 0.5,
            f"label_smoothing: {self.kind} needs it, the share of labels that are wrong": row.wants_noise
            and not self.label_smoothing,
            f"sft_weight must be at least 0, not {self.sft_weight}": not self.sft_weight >= 0,
            f"length_normalized: {self.kind} is by itself; leave it out": self.length_normalized and not ratios,
            f"reference_free: {self.kind} is by itself; leave it out": self.reference_free and not ratios,
        }
        for message, applies in wrong.items():
            if applies:
                raise ValueError(message)

    @property
    def needs_entropy(self) -> bool:
        return False

    @property
    def needs_reference(self) -> bool:
        return KINDS[self.kind].score is ratio and not self.reference_free

    def normalizer(self, batch: Preferences) -> float:
        """Units with at least one pair. ValueError if there is none, or where a reference is needed and missing."""
        if self.needs_reference and batch.reference_log_probs_B is None:
            raise ValueError(f"{self.kind} compares with a reference, and the batch has no reference_log_probs_B")
        count = units(batch, pairs(batch)[0])
        if not count:
            raise ValueError(
                f"none of the batch's {len(batch.grade_B)} answers is better than another to its prompt: nothing to "
                "prefer"
            )
        return count

    def __call__(self, outputs: Outputs, batch: Preferences) -> tuple[Tensor, Stats]:
        row = KINDS[self.kind]
        answers = of_answers(outputs, batch, batch.reference_log_probs_B if self.needs_reference else None)
        score_B = (ratio_per_token if self.length_normalized else row.score)(answers)
        better_P, worse_P = pairs(batch)
        margin_P = score_B[better_P] - score_B[worse_P]
        preference_P = batch.preference_B[better_P].to(margin_P)
        belief_P = row.belief(preference_P, self.label_smoothing)
        cost_P = belief_P * row.cost(margin_P, self.beta, self.gamma) + (1 - belief_P) * row.cost(
            -margin_P, self.beta, self.gamma
        )
        imitation = self.sft_weight + row.imitates
        if imitation:
            cost_P = cost_P - imitation * (
                preference_P * answers.mean_B[better_P] + (1 - preference_P) * answers.mean_B[worse_P]
            )
        loss = (cost_P / pairs_of_its_unit(batch, better_P)).sum()
        measured: dict[str, Tensor] = {
            "margin": self.beta * margin_P,
            "accuracy": (margin_P.sign() + 1) / 2,
            "chosen_log_prob": answers.log_probs_B[better_P],
            "rejected_log_prob": answers.log_probs_B[worse_P],
            "chosen_reward": self.beta * score_B[better_P],
            "rejected_reward": self.beta * score_B[worse_P],
        }
        every_P = torch.ones_like(better_P, dtype=torch.bool)
        stats: Stats = {"loss": Mean(float(loss.detach()), units(batch, better_P))}
        return loss, stats | {name: masked_mean(value_P, every_P) for name, value_P in measured.items()}


class Masked(Protocol):
    @property
    def loss_mask_BT(self) -> Tensor: ...


def of_answers(outputs: Outputs, batch: Masked, reference_B: Tensor | None) -> Answers:
    """Log-probs of each row's trained tokens; the others are not looked at and get a gradient of exactly 0."""
    log_probs_B = torch.where(batch.loss_mask_BT, outputs.log_probs_BT, 0).sum(1)
    tokens_B = batch.loss_mask_BT.sum(1).clamp(min=1).to(log_probs_B)
    return Answers(
        log_probs_B, torch.zeros_like(log_probs_B) if reference_B is None else reference_B.to(log_probs_B), tokens_B
    )
