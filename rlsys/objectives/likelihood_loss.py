"""Maximum likelihood: imitate the trained tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from rlsys.objectives.outputs import Outputs
from rlsys.objectives.reduction import Reduction, TokenMean, normalizer
from rlsys.objectives.stats import Mean, Stats, masked_mean

if TYPE_CHECKING:
    from torch import Tensor


class MaskedTokens(Protocol):
    """What the loss reads of a batch."""

    @property
    def loss_mask_BT(self) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class CrossEntropyLoss:
    """-log p of every trained token, reduced. A `roles.Loss` for any batch.

    Statistics: `loss` (as reduced) and `nll` (mean over tokens, nats; its exponential is the perplexity).
    """

    temperature: float = 1.0
    weight: float = 1.0
    """Factor of the loss (not of the statistics), where it is one of several."""
    reduction: Reduction = field(default_factory=TokenMean)

    @property
    def needs_entropy(self) -> bool:
        return False

    def normalizer(self, batch: MaskedTokens) -> float:
        return normalizer(self.reduction, batch.loss_mask_BT)

    def __call__(self, outputs: Outputs, batch: MaskedTokens) -> tuple[Tensor, Stats]:
        mask_BT = batch.loss_mask_BT
        nll_BT = -outputs.log_probs_BT
        loss = self.reduction.sum(nll_BT, mask_BT)
        return self.weight * loss, {
            "loss": Mean(float(loss.detach()), self.reduction.count(mask_BT)),
            "nll": masked_mean(nll_BT, mask_BT),
        }
