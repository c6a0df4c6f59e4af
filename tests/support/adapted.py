"""Small models with an adapter in place, as the tests of adapters want them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from rlsys.models.adapters.base import Adapter, AdapterConfig
from rlsys.models.adapters.shared.files import write_adapter
from rlsys.models.adapters.shared.put import put_adapter
from rlsys.models.load import load_causal_lm
from rlsys.playground.models import byte_tokenizer

TOKENS = torch.arange(16).reshape(2, 8)


def adapted(path: Path, config: AdapterConfig | None) -> Adapter:
    torch.manual_seed(0)
    return put_adapter(load_causal_lm(path, torch.float32), config, path)


def hidden(network: PreTrainedModel) -> Tensor:
    """What scores are computed from, as `forward.Body` asks for it."""
    return network.base_model(input_ids=TOKENS, position_ids=None, use_cache=False).last_hidden_state


def stir(adapter: Adapter) -> None:
    """Move what is trained away from its start, by about the size of a weight."""
    generator = torch.Generator().manual_seed(1)
    for parameter in adapter.network.parameters():
        if parameter.requires_grad:
            parameter.data += 0.03 * torch.randn(parameter.shape, generator=generator)


def merged(adapter: Adapter) -> dict[str, Tensor]:
    """The weights of a plain model."""
    named = dict(adapter.network.named_parameters())
    sent = {name: adapter.delivered_as(name) for name in named}
    return {as_: adapter.merged(name, named[name].detach()) for name, as_ in sent.items() if as_ is not None}


def saved(adapter: Adapter, folder: Path, source: Path) -> Path:
    named = dict(adapter.network.named_parameters())
    write_adapter(adapter, folder, {name: named[name].detach() for name in adapter.saved()}, source)
    return folder


def model_with_biases(folder: Path) -> Path:
    """Two layers of width 32, two heads of keys and values; biases of queries, keys and values, drawn at random."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=262,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        tie_word_embeddings=True,
    )
    model = Qwen2ForCausalLM(config)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.data.normal_()
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder
