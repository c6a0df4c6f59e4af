"""Training of a reward model: a scalar head learns which of two answers is better (Bradley-Terry), also from soft
labels. No sampling, no reward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from pydantic import NonNegativeFloat, PositiveInt

from rlsys.batch import ComparisonBatch
from rlsys.config.sampling import SamplingConfig
from rlsys.data.collate import collate_comparisons
from rlsys.data.load import Comparison
from rlsys.data.stream import Source
from rlsys.errors import RlsysError
from rlsys.methods.base import Experience, Facts, Learned, Measured, MethodConfig, Step
from rlsys.methods.shared.update import update
from rlsys.objectives.calibration import correlation, expected_calibration_error
from rlsys.objectives.outputs import ValueOutputs
from rlsys.objectives.reward_model_loss import BradleyTerryLoss, pairs
from rlsys.objectives.stats import Stats, masked_variance, merge, values
from rlsys.roles import Roles

if TYPE_CHECKING:
    from torch import Tensor


class Config(MethodConfig):
    name: str = "reward_model"
    """This file."""
    batch_size: PositiveInt = 64
    """Comparisons of one optimizer step; a ranking of several answers counts as one."""
    max_tokens: PositiveInt = 2048
    """Comparisons of which an answer with its prompt is longer are left out, and counted."""
    ensemble: PositiveInt = 1
    """Scalar heads on one body, each trained on a bootstrap of the comparisons; more than 1 measures their spread."""
    centering: NonNegativeFloat = 0.0
    """Factor of (score of the better + score of the worse answer)^2 in the loss, which keeps scores around 0; 0.01 is
    the paper's (Eisenstein et al. 2023)."""
    margin: bool = False
    """The better answer must win by the difference of the grades (the column `margin`, or `grades`), as in Llama 2."""

    @property
    def facts(self) -> Facts:
        return Facts(
            rows="comparisons",
            needs=frozenset({"reward_model"}),
            makes="reward model",
            rows_per_step=self.batch_size,
            rows_together=2,
            measures=True,
            heads=self.ensemble,
        )


@dataclass(frozen=True)
class Comparisons(Experience):
    batch: ComparisonBatch | None = None


@dataclass(frozen=True)
class Method:
    config: Config
    sampling: SamplingConfig
    pad_id: int

    def collect(self, roles: Roles, source: Source[Comparison], step: Step) -> Comparisons:
        batch = collate_comparisons(source.take(self.config.batch_size), self.pad_id)
        return Comparisons(step.version, metrics={"data/tokens": float(batch.lengths_B.sum())}, batch=batch)

    def learn(self, roles: Roles, experience: Experience, step: Step) -> Learned:
        assert isinstance(experience, Comparisons)
        assert experience.batch is not None
        assert roles.reward_model is not None
        loss = BradleyTerryLoss(self.config.centering, self.config.margin)
        return Learned(update(roles.reward_model, experience.batch, loss, 1, 1, step.seed, step.number))

    def measure(self, roles: Roles, rows: Sequence[Comparison]) -> Measured:
        """What the model makes of held-out comparisons. Its score is the mean of its heads, as by default where it
        rewards.

        - `loss`: -log sigmoid(score difference), mean over comparisons of the mean over their pairs, in nats; ln 2 is
          chance. Margin and centering are left out, so that it is the likelihood of the labels whatever the settings.
          Of a soft label it is the cross-entropy, which can't fall below that label's own entropy; so only losses on
          the same rows can be compared.
        - All other measures take the likelier side of a soft label for the right one (and `chosen` where both are). A
          model that has learned such labels well is less sure than it is right, and `ece` says so.
        - `accuracy`: of pairs; a tie counts half. `margin`: score of the better - score of the worse answer, mean over
          pairs.
        - `ece`: expected calibration error, over pairs in ten bins: of sigmoid(|score difference|), which is how sure
          the model is, against accuracy.
        - `length_correlation`, `label_length_correlation`: see `_length_correlations`.
        - `score_mean`, `score_std` (ddof 1): over all answers. `spread` (ensembles): standard deviation over heads of
          the score difference, mean over pairs.

        The negative loss picks the best model: unlike accuracy it sees a model that grows overconfident, and is not
        full of ties on few rows. Raises RlsysError for scores that are not finite.
        """
        assert roles.reward_model is not None
        size = self.config.batch_size
        chunks = [collate_comparisons(rows[start : start + size], self.pad_id) for start in range(0, len(rows), size)]
        judged = [_judge(roles.reward_model.scores(batch), batch) for batch in chunks]
        metrics = values(merge(chunk.stats for chunk in judged))
        metrics["score_std"] = metrics.pop("score_variance") ** 0.5
        gap_P, longer_P = (
            torch.cat(parts) for parts in zip(*((chunk.gap_P, chunk.longer_P) for chunk in judged), strict=True)
        )
        metrics["ece"] = expected_calibration_error(torch.sigmoid(gap_P.abs()), (gap_P.sign() + 1) / 2)
        metrics |= _length_correlations(gap_P, longer_P)
        return Measured(metrics, score=-metrics["loss"])


@dataclass(frozen=True, slots=True)
class Judged:
    """What the model makes of some comparisons, pair by pair: `gap_P` is score of the better answer - score of the
    worse one, `longer_P` the same of their lengths."""

    stats: Stats
    gap_P: Tensor
    longer_P: Tensor


def _judge(scores_BK: Tensor, batch: ComparisonBatch) -> Judged:
    if not scores_BK.isfinite().all():
        raise RlsysError(
            f"held-out comparisons: {int((~scores_BK.isfinite().all(1)).sum())} of {len(batch)} answers got scores "
            "that are not finite; "
            f"lower policy.learning_rate, or start from another model"
        )
    scores_BK = scores_BK.double()
    score_B, length_B = scores_BK.mean(1), batch.loss_mask_BT.sum(1).double()
    # The loss looks at last tokens only, so each answer may as well be one token long.
    last = replace(
        batch,
        token_ids_BT=batch.token_ids_BT[:, :1],
        loss_mask_BT=batch.loss_mask_BT[:, :1],
        lengths_B=torch.ones_like(batch.lengths_B),
    )
    _, of_heads = BradleyTerryLoss()(ValueOutputs(scores_BK[:, None]), last)
    _, of_mean = BradleyTerryLoss()(ValueOutputs(score_B[:, None, None]), last)
    every_B = torch.ones_like(score_B, dtype=torch.bool)
    stats = {**of_heads, "loss": of_mean["loss"], "score_variance": masked_variance(score_B, every_B)}
    stats["score_mean"] = stats.pop("score")
    better_P, worse_P = pairs(batch)
    return Judged(stats, score_B[better_P] - score_B[worse_P], length_B[better_P] - length_B[worse_P])


def _length_correlations(gap_P: Tensor, longer_P: Tensor) -> dict[str, float]:
    """Does a longer answer get a higher score, and does it deserve it?

    Pearson's correlations, over every pair of answers to one prompt in both orders, of the difference of their lengths
    (trained tokens) with that of their scores, and with the label (+1 if the first is the better one, else -1). Only
    answers to the same prompt are compared, because prompts differ in how long and how good the answers to them can be;
    both orders, because which one comes first means nothing. nan where no pair differs.
    """
    longer_P = torch.cat([longer_P, -longer_P])
    label_P = torch.ones_like(gap_P)
    return {
        "length_correlation": correlation(torch.cat([gap_P, -gap_P]), longer_P),
        "label_length_correlation": correlation(torch.cat([label_P, -label_P]), longer_P),
    }
