"""What one rank holds of each trained parameter under ZeRO 0 to 3: its part of the weights, and of their gradient
between the ranks' reduction and the optimizer's step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from deepspeed.utils import safe_get_local_fp32_param, safe_get_local_grad, safe_set_local_grad
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Piece:
    """Numbers `start` to `start + size` of a flattened parameter. All ranks hold all of it at ZeRO 0; else each number
    is one rank's own."""

    name: str
    parameter: Any
    """An `nn.Parameter`, with what DeepSpeed hung on it."""
    start: int
    size: int
    zero_stage: int

    def weight(self) -> Tensor:
        """[size], the numbers that the optimizer updates: float32 at ZeRO 1 to 3, else as the model has them."""
        if self.zero_stage == 0:
            return self.parameter.data.view(-1)
        if self.zero_stage == 3:
            found = safe_get_local_fp32_param(self.parameter)
            assert found is not None, "only of what is trained"
            return found.view(-1)[: self.size]
        return self.parameter._hp_mapping.get_hp_fragment()

    def gradient(self) -> Tensor:
        """[size], of the whole batch. A parameter that the loss does not reach has zeros."""
        if self.zero_stage == 3:
            return self._local_gradient()[: self.size]
        if self.zero_stage > 0:
            return self.parameter._hp_mapping.get_lp_grad_fragment(self.parameter._index_in_param_group).view(-1)
        if self.parameter.grad is None:
            self.parameter.grad = torch.zeros_like(self.parameter)
        return self.parameter.grad.view(-1)

    def set_gradient(self, value: Tensor) -> None:
        if self.zero_stage == 3:
            whole = self._local_gradient().clone()
            whole[: self.size] = value
            safe_set_local_grad(self.parameter, whole)
        else:
            self.gradient().copy_(value)

    def of(self, whole: Tensor) -> Tensor:
        """This rank's numbers, [size], of a tensor of the parameter's shape."""
        return whole.reshape(-1)[self.start : self.start + self.size]

    def _local_gradient(self) -> Tensor:
        """With the padding of the last rank."""
        found = safe_get_local_grad(self.parameter)
        assert found is not None, "only of what is trained, after a backward pass"
        return found.view(-1)


def pieces(network: nn.Module, zero_stage: int, rank: int) -> list[Piece]:
    """Of all trained parameters of which this rank holds a part; DeepSpeed must have spread them already."""
    return list(_pieces(network, zero_stage, rank))


def _pieces(network: nn.Module, zero_stage: int, rank: int) -> Iterator[Piece]:
    for name, parameter in network.named_parameters():
        found: Any = parameter
        if not parameter.requires_grad:
            continue
        if zero_stage == 0:
            start, size = 0, parameter.numel()
        elif zero_stage == 3:
            part = found.ds_tensor.numel()
            start = min(rank * part, found.ds_numel)
            size = min(part, found.ds_numel - start)
        elif found._hp_mapping is not None:
            address = found._hp_mapping.lp_fragment_address
            start, size = int(address.start), int(address.numel)
        else:
            continue
        if size:
            yield Piece(name, parameter, start, size, zero_stage)
