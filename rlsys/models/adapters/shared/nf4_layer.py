"""The base's linear layers of kind `qlora`; apart from it, because it needs torch when it is imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn

BLOCK, SUPERBLOCK = 64, 256
"""Weights that share a scale, and scales that share one of their own (Dettmers et al. 2023, section 3)."""


class NF4Linear(nn.Linear):
    """y = x dequantised(W)^T + b. `weight` is what bitsandbytes packs, two numbers a byte, and is frozen; what it takes
    to read it is `state`, which is no part of state dicts: the base gives the same each time."""

    def __init__(self, layer: nn.Linear) -> None:
        nn.Module.__init__(self)
        weight = layer.weight.detach()
        self.in_features, self.out_features, self.bias = layer.in_features, layer.out_features, layer.bias
        self.state: Any = None
        if weight.device.type == "meta":
            packed = weight.new_empty(-(-weight.numel() // 2), 1, dtype=torch.uint8)
        else:
            from bitsandbytes.functional import quantize_4bit

            packed, self.state = quantize_4bit(weight, blocksize=BLOCK, compress_statistics=True, quant_type="nf4")
        self.weight = nn.Parameter(packed, requires_grad=False)

    def forward(self, input: Tensor) -> Tensor:
        """Keeps the packed weight for the backward pass, and unpacks it again there."""
        from bitsandbytes import matmul_4bit  # pyright: ignore[reportPrivateImportUsage]  # public by its documentation

        return matmul_4bit(input, self.weight, self.state, bias=self.bias)

    def dequantized(self) -> Tensor:
        """[outputs, inputs] in the model's dtype."""
        from bitsandbytes.functional import dequantize_4bit

        return dequantize_4bit(self.weight.detach(), self.state)

    @property
    def constants(self) -> int:
        """Bytes of `state`: of the scales a byte each and a float32 for every 256, and 273 float32 numbers: what the 16
        values of a weight and the 256 of a scale stand for, and the scales' mean."""
        blocks = -(-self.in_features * self.out_features // BLOCK)
        return blocks + 4 * -(-blocks // SUPERBLOCK) + 4 * (16 + 256 + 1)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """What moves a module must move `state`; no dtype is changed."""
        super()._apply(fn, recurse)
        if self.state is not None and self.weight.device.type != "meta":
            self.state.to(self.weight.device)
        return self
