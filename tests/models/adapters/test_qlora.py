"""LoRA on a quantised base: the base is transformers' own one of four bits, and it is the same for trainer, sampler and
reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from support.adapted import TOKENS, adapted, hidden, merged, saved, stir
from torch import Tensor
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from rlsys.config.actors import ModelConfig, PolicyConfig
from rlsys.models.adapters import qlora
from rlsys.models.adapters.base import optimizer_groups
from rlsys.models.cost import cost, placed

CONFIG = qlora.Config(rank=4)
LINEAR = 3 * (4 * 128 * 128 + 3 * 128 * 256)
"""Weights that are quantised: of each layer four 128 x 128 of attention and three 128 x 256."""


def quantized(path: Path) -> Any:
    """By transformers alone."""
    how = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, quantization_config=how, device_map="cpu")


def states(adapter: Any) -> dict[str, list[Tensor]]:
    """All bytes of the quantised base."""
    found = {name: layer.state for name, layer in adapter.packed.items()}
    scales = {name: [s.absmax, s.code, s.offset, s.state2.absmax, s.state2.code] for name, s in found.items()}
    return {name: [adapter.packed[name].weight, *tensors] for name, tensors in scales.items()}


def test_it_begins_as_the_quantised_base_and_with_the_adapter_off_stays_it(tiny: Path) -> None:
    """And changes no bit of it in training."""
    adapter: Any = adapted(tiny, CONFIG)
    base, plain = hidden(quantized(tiny)), AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    assert torch.equal(hidden(adapter.network), base)
    assert (base - hidden(plain)).abs().max() > 0.01
    assert sum(p.numel() for p in adapter.network.parameters() if p.requires_grad) == 3 * 4 * (4 * 256 + 3 * 384)
    before = {name: p.clone() for name, p in adapter.network.named_parameters()}
    packed = {name: [tensor.clone() for tensor in tensors] for name, tensors in states(adapter).items()}
    optimizer = torch.optim.AdamW(optimizer_groups(adapter, 1e-2, 0.1))
    for _ in range(2):  # A has no gradient as long as B is 0
        hidden(adapter.network)[:, -1].square().mul(torch.linspace(-1, 1, 128)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    changed = {name for name, p in adapter.network.named_parameters() if not torch.equal(p, before[name])}
    assert changed == set(adapter.saved())
    for name, tensors in states(adapter).items():
        assert all(torch.equal(a, b) for a, b in zip(tensors, packed[name], strict=True)), name
    for layer in adapter.layers():
        layer.enable_adapters(False)
    assert torch.equal(hidden(adapter.network), base)


def test_merged_saved_and_loaded_it_computes_the_same(tiny: Path, tmp_path: Path) -> None:
    """In a plain model, in plain peft over transformers' quantised base, and gone on from."""
    adapter = adapted(tiny, CONFIG)
    stir(adapter)
    expected, folder = hidden(adapter.network), saved(adapter, tmp_path / "adapter", tiny)
    plain = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    weights = merged(adapter)
    assert [*weights] == [name for name, _ in plain.named_parameters()]
    plain.load_state_dict(weights, strict=False)
    torch.testing.assert_close(hidden(plain), expected, atol=1e-5, rtol=1e-5)
    peft_s = PeftModel.from_pretrained(quantized(tiny), folder).train()  # in `eval` its layers round inputs to bfloat16
    torch.testing.assert_close(peft_s(input_ids=TOKENS).logits, adapter.network(TOKENS).logits, atol=1e-5, rtol=1e-5)
    again = dict(adapted(tiny, CONFIG.model_copy(update={"path": str(folder)})).network.named_parameters())
    assert all(torch.equal(again[name], parameter) for name, parameter in adapter.network.named_parameters())


@pytest.mark.parametrize(("dtype", "width"), [("float32", 4), ("bfloat16", 2)])
def test_what_it_takes_is_what_is_counted_by_hand(tiny: Path, dtype: str, width: int) -> None:
    """Half a byte of each quantised weight, a byte for 64 of them, 4 for 64 x 256; and 273 numbers a layer."""
    model = ModelConfig.model_validate({"path": "unused", "dtype": dtype, "adapter": CONFIG})
    said, trained = cost(placed(model, tiny, None), PolicyConfig(zero_stage=0)), 3 * 4 * (4 * 256 + 3 * 384)
    rest = 262 * 128 + 3 * (2 * 32 + 2 * 128) + 128  # the embeddings, and norms of heads, layers and the whole
    blocks = LINEAR // 64
    superblocks = 3 * (4 * 1 + 3 * 2)  # of a layer's 256 or 512 scales
    constants = blocks + 4 * superblocks + 21 * 4 * 273
    assert (said.trained, said.total) == (trained, trained + LINEAR + rest)
    assert said.weights == width * (trained + rest) + LINEAR // 2 + constants
    if dtype == "float32":  # as it is held
        adapter = adapted(tiny, CONFIG)
        held = sum(tensor.nbytes for tensors in states(adapter).values() for tensor in tensors)
        assert held == LINEAR // 2 + constants


def test_the_adapter_has_the_model_s_dtype(tiny: Path) -> None:
    from rlsys.models.adapters.shared.put import put_adapter
    from rlsys.models.load import load_causal_lm

    adapter = put_adapter(load_causal_lm(tiny, torch.bfloat16), CONFIG, tiny)
    named = dict(adapter.network.named_parameters())
    assert {p.dtype for p in named.values()} == {torch.bfloat16, torch.uint8}
    assert {adapter.plain(name, p).dtype for name, p in named.items()} == {torch.bfloat16}
