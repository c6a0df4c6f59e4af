"""The reward model's loss: answers to one prompt, graded, compared pair by pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from rlsys.objectives.outputs import ValueOutputs
from rlsys.objectives.stats import Mean, Stats, masked_mean

if TYPE_CHECKING:
    from torch import Tensor


class Comparisons(Protocol):
    """What the loss reads of a batch (`rlsys.batch.ComparisonBatch` has it).

    unit_B: int64, equal for the answers to one prompt, which are always in one micro-batch. grade_B: float, higher is
    better. preference_B: float, the probability that of a pair the answer with the higher grade is better; equal for
    all answers of a unit, and 1 where labels are certain. comparison_id_B: int64, the same for all answers of a unit,
    wherever and whenever it is used.
    """

    @property
    def lengths_B(self) -> Tensor: ...
    @property
    def unit_B(self) -> Tensor: ...
    @property
    def grade_B(self) -> Tensor: ...
    @property
    def preference_B(self) -> Tensor: ...
    @property
    def comparison_id_B(self) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class BradleyTerryLoss:
    """Mean over units of the mean over their pairs of -log sigmoid(s_better - s_worse - margin). A `roles.Loss` of
    `ValueOutputs`.

    s is the score at an answer's last token. A unit of k answers makes up to k (k - 1) / 2 pairs (Ouyang et al. 2022,
    arXiv 2203.02155, equation 1); equal grades make none, and a unit without pairs is left out. With `use_margin` the
    margin is the difference of the grades (Touvron et al. 2023, arXiv 2307.09288, equation 2). `centering` x (s_better
    + s_worse)^2 is added per pair, which keeps the scores around 0 (Eisenstein et al. 2023, arXiv 2312.09244).
    ValueError unless centering >= 0.

    A soft label (`preference_B` p < 1, a judge's) is certain of neither order, so a pair costs what is expected of it:
    -p log sigmoid(s_better - s_worse - margin) - (1 - p) log sigmoid(s_worse - s_better - margin), whose minimum
    without a margin is at a difference of logit(p). The margin is asked of whichever answer is the better one; so an
    even pair (p = 1/2), of which either may be called better, is the same both ways.

    With K > 1 heads (an ensemble) the loss is the mean over heads, each of which counts each unit 0 or 2 times, by a
    fixed hash of comparison and head: a double-or-nothing bootstrap (Owen & Eckles 2012), so that the heads see
    different data.

    Statistics: `loss` (as reduced); over pairs, of the score averaged over heads, `accuracy` (ordered as the grades
    are, however soft the label; a tie counts half) and `margin` (difference), and for an ensemble `spread` (standard
    deviation over heads of the difference, ddof 1); over answers `score`.
    """

    centering: float = 0.0
    use_margin: bool = False

    def __post_init__(self) -> None:
        if not self.centering >= 0:
            raise ValueError(f"the reward model's centering must be at least 0, not {self.centering}")

    def normalizer(self, batch: Comparisons) -> float:
        """Units with at least one pair. ValueError if there is none."""
        count = units(batch, pairs(batch)[0])
        if not count:
            raise ValueError(
                f"none of the batch's {len(batch.grade_B)} answers is better than another to its prompt: nothing to "
                "compare"
            )
        return count

    def __call__(self, outputs: ValueOutputs, batch: Comparisons) -> tuple[Tensor, Stats]:
        scores_BK = outputs.last_BK(batch.lengths_B)
        better_P, worse_P = pairs(batch)
        better_PK, worse_PK = scores_BK[better_P], scores_BK[worse_P]
        gap_PK = better_PK - worse_PK
        margin_PK = ((batch.grade_B[better_P] - batch.grade_B[worse_P]).to(gap_PK) * self.use_margin)[:, None]
        sure_PK = batch.preference_B[better_P].to(gap_PK)[:, None]
        loss_PK = -sure_PK * torch.nn.functional.logsigmoid(gap_PK - margin_PK) - (
            1 - sure_PK
        ) * torch.nn.functional.logsigmoid(-gap_PK - margin_PK)
        if self.centering:
            loss_PK = loss_PK + self.centering * (better_PK + worse_PK).square()
        weights_PK = bootstrap_weights(batch.comparison_id_B[better_P], scores_BK.shape[1]).to(gap_PK)
        loss = ((loss_PK * weights_PK).mean(1) / pairs_of_its_unit(batch, better_P)).sum()
        return loss, {"loss": Mean(float(loss.detach()), units(batch, better_P)), **_score_stats(scores_BK, gap_PK)}


def pairs(batch: Comparisons) -> tuple[Tensor, Tensor]:
    """Row indices of the better and of the worse answer of every pair, two int64 [P]."""
    unit_B, grade_B = batch.unit_B, batch.grade_B
    better_P, worse_P = ((unit_B[:, None] == unit_B) & (grade_B[:, None] > grade_B)).nonzero(as_tuple=True)
    assert (batch.comparison_id_B[better_P] == batch.comparison_id_B[worse_P]).all(), (
        "the answers of a unit must share comparison_id_B"
    )
    return better_P, worse_P


def bootstrap_weights(comparison_id_P: Tensor, heads: int) -> Tensor:
    """How often each head counts each comparison: 0 or 2 with equal chances, fixed by (comparison, head); 1 for a
    single head. int64 [P, K]."""
    if heads == 1:
        return torch.ones_like(comparison_id_P)[:, None]
    # Two rounds of multiply and fold (as in splitmix64) spread every bit of both numbers; int64 products wrap around.
    mixed_PK = (
        comparison_id_P[:, None] * 0x1E3779B97F4A7C15
        + (torch.arange(heads, device=comparison_id_P.device) + 1) * 0x3F58476D1CE4E5B9
    )
    for factor in (0x14D049BB133111EB, 0x2545F4914F6CDD1D):
        mixed_PK = (mixed_PK ^ ((mixed_PK >> 31) & 0x1FFFFFFFF)) * factor
    return ((mixed_PK >> 40) & 1) * 2


def pairs_of_its_unit(batch: Comparisons, better_P: Tensor) -> Tensor:
    """Of each pair: how many pairs its unit has. [P]"""
    _, unit_P, sizes = torch.unique(batch.unit_B[better_P], return_inverse=True, return_counts=True)
    return sizes[unit_P]


def units(batch: Comparisons, better_P: Tensor) -> float:
    return float(len(torch.unique(batch.unit_B[better_P])))


def _score_stats(scores_BK: Tensor, gap_PK: Tensor) -> Stats:
    gap_PK = gap_PK.detach()
    gap_P, heads = gap_PK.mean(1), gap_PK.shape[1]
    every_P = torch.ones_like(gap_P, dtype=torch.bool)
    score_B = scores_BK.detach().mean(1)
    stats: Stats = {
        "accuracy": masked_mean((gap_P.sign() + 1) / 2, every_P),
        "margin": masked_mean(gap_P, every_P),
        "score": masked_mean(score_B, torch.ones_like(score_B, dtype=torch.bool)),
    }
    if heads > 1:
        # Not `std`, which warns where there is no pair.
        variance_P = (gap_PK - gap_P[:, None]).square().sum(1) / (heads - 1)
        stats["spread"] = masked_mean(variance_P.sqrt(), every_P)
    return stats
