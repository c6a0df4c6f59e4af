"""Adapters in PEFT's format, merged tensor by tensor, against peft's own merging of whole models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import IA3Config, LoraConfig, PeftModel, VeraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from rlsys.errors import ConfigError
from rlsys.merging.adapter import Adapter
from rlsys.merging.shards import Weights
from rlsys.models.version import OF_TOKENS, version_of

SMALL: dict[str, Any] = {"vocab_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}


def qwen() -> PreTrainedModel:
    """With biases on queries, keys and values."""
    return Qwen2ForCausalLM(Qwen2Config(hidden_size=16, intermediate_size=24, tie_word_embeddings=False, **SMALL))


def gpt2() -> PreTrainedModel:
    """Its weights are inputs x outputs."""
    return GPT2LMHeadModel(GPT2Config(vocab_size=24, n_embd=16, n_layer=2, n_head=2, n_positions=16))


def saved(model: PreTrainedModel, config: Any, folder: Path) -> tuple[Adapter, dict[str, torch.Tensor]]:
    """An adapter of random numbers as peft saves it, and what peft merges of it: weights by the base's names."""
    torch.manual_seed(5)
    model.save_pretrained(folder / "base")
    adapted = get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn_like(parameter) + 2 * ("magnitude" in name))
    adapted.save_pretrained(folder / "adapter")
    plain = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.float32)
    merged = PeftModel.from_pretrained(plain, folder / "adapter").merge_and_unload()
    return Adapter(folder / "adapter", Weights(folder / "base")), merged.state_dict()


@pytest.mark.parametrize(
    ("model", "config"),
    [
        (qwen, LoraConfig(r=4, lora_alpha=6, target_modules="all-linear", modules_to_save=["lm_head"])),
        (qwen, LoraConfig(r=4, use_rslora=True, target_modules=["q_proj", "embed_tokens"], bias="lora_only")),
        (
            qwen,
            LoraConfig(
                r=4, rank_pattern={"q_proj": 2}, alpha_pattern={"1.self_attn.v_proj": 3}, target_modules="all-linear"
            ),
        ),
        (qwen, LoraConfig(r=2, use_dora=True, target_modules=["q_proj", "down_proj"])),
        (qwen, IA3Config(target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"])),
        (gpt2, LoraConfig(r=2, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True)),
        (gpt2, LoraConfig(r=2, use_dora=True, target_modules=["c_fc"], fan_in_fan_out=True)),
        (gpt2, IA3Config(target_modules=["c_attn", "c_proj"], feedforward_modules=["c_proj"], fan_in_fan_out=True)),
    ],
    ids=["lora", "rslora", "patterns", "dora", "ia3", "gpt2-lora", "gpt2-dora", "gpt2-ia3"],
)
def test_as_peft_merges_it(model: Any, config: Any, tmp_path: Path):
    adapter, wanted = saved(model(), config, tmp_path)
    base = load_file(tmp_path / "base" / "model.safetensors")
    assert adapter.places.keys() == base.keys()
    changed = set()
    for name in adapter.places:
        found = adapter.read(name)
        torch.testing.assert_close(found.float(), wanted[name], rtol=1e-5, atol=1e-5)
        changed |= {name} if not torch.equal(found, base[name]) else set()
    assert len(changed) >= 2


def test_the_scale_is_alpha_over_rank(tmp_path: Path):
    """By hand: W + 6 / 4 B A."""
    adapter, _ = saved(qwen(), LoraConfig(r=4, lora_alpha=6, target_modules=["q_proj"]), tmp_path)
    name = "model.layers.1.self_attn.q_proj"
    own = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    a, b = (own[f"base_model.model.{name}.lora_{part}.weight"] for part in "AB")
    wanted = load_file(tmp_path / "base" / "model.safetensors")[f"{name}.weight"] + 1.5 * b @ a
    assert torch.allclose(adapter.read(f"{name}.weight"), wanted, atol=1e-6)


def test_an_adapter_belongs_to_its_base(tmp_path: Path):
    """As base.json says by which hash, or by which commit of a hub model, whose folder in the hub's cache it names."""
    adapter, _ = saved(qwen(), LoraConfig(r=4, target_modules=["q_proj"]), tmp_path)

    def told(version: str, kind: str = "lora") -> Adapter:
        origin = {"kind": kind, "base": "x", "version": version}
        (adapter.folder / "base.json").write_text(json.dumps(origin))
        return Adapter(adapter.folder, adapter.base)

    assert told(version_of(adapter.base.folder, OF_TOKENS)).places
    with pytest.raises(ConfigError, match=r"was trained on other@0123 .*, and the base is base@.*; give it the base"):
        _ = told("other@0123").places
    with pytest.raises(ConfigError, match="is of kind qlora, whose base was rounded to four bits"):
        _ = told(version_of(adapter.base.folder, OF_TOKENS), "qlora").places
    commit = adapter.base.folder.rename(tmp_path / f"{'a1' * 20}")
    told("hub/model@a1a1a1a1a1a1")
    assert Adapter(adapter.folder, Weights(commit)).places


def test_what_is_not_merged(tmp_path: Path):
    adapter, _ = saved(qwen(), LoraConfig(r=4, target_modules=["q_proj"]), tmp_path)
    file, settings = tmp_path / "adapter" / "adapter_model.safetensors", tmp_path / "adapter" / "adapter_config.json"
    weights, config = load_file(file), json.loads(settings.read_text())
    a = next(name for name in weights if "lora_A" in name)

    def refused(changed: dict[str, torch.Tensor], **keys: Any) -> str:
        save_file(changed, file)
        settings.write_text(json.dumps(config | keys))
        with pytest.raises(ConfigError) as error:
            _ = Adapter(adapter.folder, adapter.base).places
        assert "\n" not in str(error.value)
        return str(error.value)

    assert f"holds {a}.extra, of which it is not known what it does" in refused(
        {**weights, f"{a}.extra": torch.zeros(2)}
    )
    wide = refused({**weights, a: torch.zeros(4, 17)})
    assert "q_proj.weight is [16, 16] in the base, and the adapter has lora_A.weight [4, 17]" in wide
    alone = refused({name: tensor for name, tensor in weights.items() if name != a})
    assert "the adapter has lora_B.weight [16, 4]" in alone
    elsewhere = {name.replace("layers.1.", "layers.9."): tensor for name, tensor in weights.items()}
    assert "changes model.layers.9.self_attn.q_proj.weight, which the base" in refused(elsewhere)
    assert "began by pissa, which changed the base's weights" in refused(weights, init_lora_weights="pissa")
    vera = VeraConfig(r=4, target_modules=["q_proj"]).to_dict()
    settings.write_text(json.dumps({**vera, "target_modules": ["q_proj"], "peft_type": "VERA"}))
    with pytest.raises(ConfigError, match="an adapter of kind VERA, and only LORA"):
        _ = Adapter(adapter.folder, adapter.base).config
