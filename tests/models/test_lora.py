"""Adapters: only they are trained, and merging them changes nothing but names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from rlsys.config.actors import LoraConfig
from rlsys.errors import ConfigError
from rlsys.models.load import load_causal_lm
from rlsys.models.lora import adapter_of, adapter_weights, add_adapters, base_name, is_adapter, merged

TOKENS = torch.arange(20)[None]


def adapted(path: Path, **settings: object) -> PreTrainedModel:
    model = load_causal_lm(path, torch.float32)
    add_adapters(model, LoraConfig(rank=4, alpha=12.0, **settings))  # type: ignore[arg-type]
    return model


def test_adapters_start_as_nothing(tiny: Path) -> None:
    plain = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    assert torch.equal(adapted(tiny)(TOKENS).logits, plain(TOKENS).logits)


def test_only_adapters_are_trained(tiny: Path) -> None:
    model = adapted(tiny)
    # Seven linear layers in each of three blocks, two matrices each; not the head.
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert len(trained) == 7 * 3 * 2
    assert all(is_adapter(name) for name in trained)


def test_merged_weights_in_the_base_model_compute_the_same(tiny: Path) -> None:
    model = adapted(tiny)
    torch.manual_seed(1)
    weights = {}
    for name, parameter in model.named_parameters():
        if (layer := adapter_of(model, name)) is not None:
            adapter_weights(layer)[1].data.normal_(std=0.2)
            weights[base_name(name)] = merged(parameter.detach(), layer)
        elif not is_adapter(name):
            weights[base_name(name)] = parameter.detach()
    plain = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    assert set(weights) == {name for name, _ in plain.named_parameters()}
    before = plain(TOKENS).logits
    plain.load_state_dict(weights, strict=False)
    assert (before - plain(TOKENS).logits).abs().max() > 0.1
    torch.testing.assert_close(model(TOKENS).logits, plain(TOKENS).logits, atol=1e-4, rtol=1e-4)


def test_the_scale_is_alpha_over_rank(tiny: Path) -> None:
    model = adapted(tiny, target_modules=("q_proj",))
    name = "model.layers.0.self_attn.q_proj.base_layer.weight"
    layer = adapter_of(model, name)
    assert layer is not None
    a, b = adapter_weights(layer)
    b.data.fill_(0.5)
    base = model.get_parameter(name)
    expected = base + 3.0 * (b @ a)  # 12 / 4
    torch.testing.assert_close(merged(base, layer), expected.detach())


@pytest.mark.parametrize(("target", "message"), [("lm_head", "the output head"), ("no_such_layer", "no_such_layer")])
def test_bad_targets_are_refused(tiny: Path, target: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        adapted(tiny, target_modules=(target,))
