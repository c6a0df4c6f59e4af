"""Low-rank adapters (Hu et al. 2021), by peft: put in place, and merged into full weights under the base model's
names."""

from __future__ import annotations

from peft import LoraConfig as PeftConfig
from peft import inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import PreTrainedModel

from rlsys.config.actors import LoraConfig
from rlsys.errors import ConfigError
from rlsys.models.value_model import SCALAR_HEAD

ADAPTER = "default"
BASE = ".base_layer."
"""What peft puts into the name of a weight that it wraps."""


def add_adapters(model: PreTrainedModel, config: LoraConfig) -> None:
    """Freeze the model and add adapters to it, in place. At first they change nothing: one of the two matrices is 0. A
    scalar head stays trained.

    Raises ConfigError if `target_modules` names nothing in the model, or the output head, whose weights log-probs use
    directly.
    """
    embeddings = model.get_output_embeddings()
    head = next((name for name, module in model.named_modules() if module is embeddings), SCALAR_HEAD).rsplit(".", 1)[
        -1
    ]
    if head in config.target_modules:
        raise ConfigError(f"model.lora.target_modules: the output head ({head}) can't have an adapter; leave it out")
    targets = list(config.target_modules) or "all-linear"
    peft_config = PeftConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # pyright: ignore[reportArgumentType]  # floats work
        lora_dropout=config.dropout,
        target_modules=targets,
        task_type="SEQ_CLS" if embeddings is None else "CAUSAL_LM",
        bias="none",
    )
    try:
        inject_adapter_in_model(peft_config, model, adapter_name=ADAPTER)
    except ValueError as error:
        raise ConfigError(f"model.lora.target_modules: {str(error).splitlines()[0]}") from error
    if embeddings is None:
        model.get_submodule(SCALAR_HEAD).requires_grad_(True)


def is_adapter(name: str) -> bool:
    """Whether a parameter is an adapter's own (it has no place in the merged model)."""
    return ".lora_" in name


def base_name(name: str) -> str:
    """The name under which the base model knows a parameter."""
    return name.replace(BASE, ".")


def adapter_of(model: nn.Module, name: str) -> LoraLayer | None:
    """The adapted layer whose base weight has this name; None for a weight that has no adapter."""
    if not name.endswith(f"{BASE}weight"):
        return None
    layer = model.get_submodule(name.removesuffix(f"{BASE}weight"))
    assert isinstance(layer, LoraLayer)
    return layer


def adapter_weights(layer: LoraLayer) -> tuple[Tensor, Tensor]:
    """The adapter's two matrices, A (rank x inputs) and B (outputs x rank)."""
    a, b = layer.lora_A[ADAPTER], layer.lora_B[ADAPTER]
    assert isinstance(a, nn.Linear)
    assert isinstance(b, nn.Linear)
    return a.weight, b.weight


def merged(weight: Tensor, layer: LoraLayer) -> Tensor:
    """weight + alpha / rank x B A, added in float32 and rounded once to the weight's dtype."""
    a, b = adapter_weights(layer)
    return (weight.float() + layer.scaling[ADAPTER] * (b.detach().float() @ a.detach().float())).to(weight.dtype)
