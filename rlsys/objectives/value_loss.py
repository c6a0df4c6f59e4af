"""The critic's loss: squared error to the returns, bounded as the policy's step is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from rlsys.objectives.outputs import ValueOutputs
from rlsys.objectives.reduction import TokenMean, normalizer
from rlsys.objectives.stats import Mean, Stats, masked_mean

if TYPE_CHECKING:
    from torch import Tensor


class ValueTensors(Protocol):
    """What the loss reads of a batch (`rlsys.batch.ValueBatch` has it)."""

    @property
    def loss_mask_BT(self) -> Tensor: ...
    @property
    def old_values_BT(self) -> Tensor: ...
    @property
    def returns_BT(self) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class ClippedValueLoss:
    """0.5 x max((V - R)^2, (clip(V, V_old - clip, V_old + clip) - R)^2), mean over the trained tokens. A `roles.Loss`
    of `ValueOutputs`.

    The value clipping of PPO's first implementation (Schulman et al. 2017; Huang et al. 2022, "The 37 Implementation
    Details of PPO"): a value that already moved by `clip` in the right direction gets no gradient. None leaves the
    plain squared error. ValueError unless clip > 0.

    Statistics: `value_loss` (as reduced), and over tokens `value_clip_fraction` (whose clipped term is the larger),
    `value`, `return`.
    """

    clip: float | None = 0.2

    def __post_init__(self) -> None:
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"the value clip must be above 0, or None to do without, not {self.clip}")

    def normalizer(self, batch: ValueTensors) -> float:
        return normalizer(TokenMean(), batch.loss_mask_BT)

    def __call__(self, outputs: ValueOutputs, batch: ValueTensors) -> tuple[Tensor, Stats]:
        mask_BT, returns_BT, old_BT = batch.loss_mask_BT, batch.returns_BT, batch.old_values_BT
        values_BT = outputs.values_BT
        error_BT = clipped_error_BT = (values_BT - returns_BT).square()
        if self.clip is not None:
            clipped_error_BT = (values_BT.clamp(old_BT - self.clip, old_BT + self.clip) - returns_BT).square()
        reduction = TokenMean()
        loss = reduction.sum(0.5 * torch.maximum(error_BT, clipped_error_BT), mask_BT)
        return loss, {
            "value_loss": Mean(float(loss.detach()), reduction.count(mask_BT)),
            "value_clip_fraction": masked_mean(clipped_error_BT > error_BT, mask_BT),
            "value": masked_mean(values_BT, mask_BT),
            "return": masked_mean(returns_BT, mask_BT),
        }
