"""The module of kind `bottleneck`; apart from it, because it needs torch when it is imported."""

from __future__ import annotations

from torch import Tensor, nn

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}


class Bottleneck(nn.Module):
    """y + U f(D y + d) + u of a linear layer's output y [..., outputs]."""

    def __init__(self, base_layer: nn.Linear, size: int, activation: str) -> None:
        super().__init__()
        weight = base_layer.weight
        self.base_layer = base_layer
        self.down = nn.Linear(base_layer.out_features, size, device=weight.device, dtype=weight.dtype)
        self.activation = ACTIVATIONS[activation]()
        self.up = nn.Linear(size, base_layer.out_features, device=weight.device, dtype=weight.dtype)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        self.enabled = True

    def forward(self, hidden: Tensor) -> Tensor:
        own = self.base_layer(hidden)
        return own if not self.enabled else own + self.up(self.activation(self.down(own)))
