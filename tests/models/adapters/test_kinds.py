"""Each kind of adapter: what it trains, counted by hand; a start that changes nothing; merged weights that compute the
same; a folder that plain peft reads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from peft.optimizers import create_loraplus_optimizer
from support.adapted import TOKENS, adapted, hidden, merged, saved, stir
from transformers import AutoModelForCausalLM

from rlsys.models.adapters import bitfit, bottleneck, dora, freeze, ia3, lora, lora_plus, rslora, vera
from rlsys.models.adapters.base import AdapterConfig, optimizer_groups

# Of each of the three layers: four 128 x 128 of attention, gate and up 256 x 128, down 128 x 256.
LORA = 3 * 4 * (4 * (128 + 128) + 3 * (128 + 256))
OUTPUTS = 3 * (4 * 128 + 256 + 256 + 128)
LAYER = 4 * 128 * 128 + 3 * 128 * 256 + 2 * 32 + 2 * 128
"""The weights of a layer: two norms of a head's 32 and two of the width's 128 among them."""
KINDS: dict[str, tuple[AdapterConfig, int]] = {
    "lora": (lora.Config(rank=4, alpha=12.0), LORA),
    "lora-attention": (lora.Config(rank=4, target_modules="attention"), 3 * 4 * 4 * 256),
    "lora-names": (lora.Config(rank=4, target_modules=("q_proj", "down_proj")), 3 * 4 * (256 + 384)),
    "lora-regex": (lora.Config(rank=4, target_modules=r".*layers\.[12]\..*\.v_proj"), 2 * 4 * 256),
    "lora-first-and-last": (
        lora.Config(rank=4, target_modules=("q_proj",), first_layers=1, last_layers=1),
        2 * 4 * 256,
    ),
    "lora-and-norm": (lora.Config(rank=4, modules_to_save=("model.norm",)), LORA + 128),
    "rslora": (rslora.Config(rank=4), LORA),
    "lora_plus": (lora_plus.Config(rank=4), LORA),
    "dora": (dora.Config(rank=4), LORA + OUTPUTS),
    "vera": (vera.Config(rank=16), 3 * 7 * 16 + OUTPUTS),
    "ia3": (ia3.Config(), 3 * (128 + 128 + 256)),
    "freeze": (freeze.Config(layers=2), LAYER + 128),
    "freeze-embeddings": (freeze.Config(layers=0), 3 * LAYER + 128),
    "pfeiffer": (bottleneck.Config(size=8), 3 * (2 * 128 * 8 + 8 + 128)),
    "houlsby": (bottleneck.Config(size=8, placement="houlsby"), 6 * (2 * 128 * 8 + 8 + 128)),
}
OF_A_KIND = ["lora-and-norm", "rslora", "dora", "vera", "ia3", "freeze", "houlsby"]
"""One of each; LoRA+ is a LoRA adapter, and so are choices of layers."""


@pytest.mark.parametrize("name", KINDS)
def test_it_trains_as_many_numbers_as_are_counted_by_hand_and_at_first_changes_nothing(tiny: Path, name: str) -> None:
    config, count = KINDS[name]
    adapter = adapted(tiny, config)
    assert sum(p.numel() for p in adapter.network.parameters() if p.requires_grad) == count
    plain = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    gap = (hidden(adapter.network) - hidden(plain)).detach().abs().max()
    assert float(gap) <= (1e-5 if config.kind == "dora" else 0.0)  # DoRA divides by a norm and multiplies by it


@pytest.mark.parametrize("name", OF_A_KIND)
def test_a_step_moves_the_trained_tensors_and_no_other_bit(tiny: Path, name: str) -> None:
    adapter = adapted(tiny, KINDS[name][0])
    before = {name: parameter.clone() for name, parameter in adapter.network.named_parameters()}
    optimizer = torch.optim.AdamW(optimizer_groups(adapter, 1e-2, 0.1))
    for _ in range(2):  # LoRA's A has no gradient as long as B is 0
        hidden(adapter.network)[:, -1].square().mul(torch.linspace(-1, 1, 128)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    changed = {
        name for name, parameter in adapter.network.named_parameters() if not torch.equal(parameter, before[name])
    }
    assert changed == set(adapter.saved())


@pytest.mark.parametrize("name", OF_A_KIND)
def test_merged_saved_and_loaded_it_computes_the_same(tiny: Path, tmp_path: Path, name: str) -> None:
    """In the plain model, in plain peft, and gone on from."""
    config = KINDS[name][0]
    adapter = adapted(tiny, config)
    stir(adapter)
    expected, plain = hidden(adapter.network), AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    folder = saved(adapter, tmp_path / "adapter", tiny)
    if config.kind not in ("freeze", "bottleneck"):
        logits = adapter.network.eval()(TOKENS).logits
        loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32), folder)
        torch.testing.assert_close(loaded.eval()(input_ids=TOKENS).logits, logits, atol=1e-6, rtol=1e-5)
    if config.unmergeable is None:
        weights = merged(adapter)
        assert [*weights] == [name for name, _ in plain.named_parameters()]
        before = hidden(plain)
        plain.load_state_dict(weights, strict=False)
        assert (before - hidden(plain)).abs().max() > 0.01
        torch.testing.assert_close(hidden(plain), expected, atol=1e-5, rtol=1e-5)

    again = adapted(tiny, config.model_copy(update={"path": str(folder)}))
    found = dict(again.network.named_parameters())
    assert all(torch.equal(found[name], parameter) for name, parameter in adapter.network.named_parameters())


def test_scales_are_those_of_the_papers(tiny: Path) -> None:
    """With B = 1/2: alpha / r = 12 / 4 for LoRA, alpha / sqrt(r) = 12 / 2 for rsLoRA."""
    name = "model.layers.0.self_attn.q_proj.base_layer.weight"
    for kind, scale in ((lora, 3.0), (rslora, 6.0)):
        adapter = adapted(tiny, kind.Config(rank=4, alpha=12.0, target_modules=("q_proj",)))
        layer = adapter.network.get_submodule("model.layers.0.self_attn.q_proj")
        parameters = {name.split(".")[0]: parameter for name, parameter in layer.named_parameters()}
        parameters["lora_B"].data.fill_(0.5)
        weight = adapter.network.get_parameter(name).detach()
        # Each row of B A is half the sum of A's rows.
        expected = weight + scale * 0.5 * parameters["lora_A"].detach().sum(0)
        torch.testing.assert_close(adapter.merged(name, weight), expected, atol=1e-6, rtol=1e-6)


def test_dora_s_rows_have_the_trained_magnitudes(tiny: Path) -> None:
    adapter = adapted(tiny, dora.Config(rank=4, target_modules=("q_proj",)))
    stir(adapter)
    name = "model.layers.0.self_attn.q_proj"
    layer = adapter.network.get_submodule(name)
    magnitude = next(p for own, p in layer.named_parameters() if "magnitude" in own)
    rows = adapter.merged(f"{name}.base_layer.weight", layer.get_parameter("base_layer.weight").detach()).norm(dim=1)
    torch.testing.assert_close(rows, magnitude.detach().abs(), atol=1e-5, rtol=1e-5)


def test_vera_s_random_pair_is_shared_and_follows_from_its_seed(tiny: Path) -> None:
    def pair(seed: int) -> torch.Tensor:
        buffers = dict(adapted(tiny, vera.Config(rank=16, projection_seed=seed)).network.named_buffers())
        assert sum("vera_A" in name for name in buffers) == 1  # of all layers
        return next(buffer for name, buffer in buffers.items() if "vera_A" in name)

    assert torch.equal(pair(0), pair(0))
    assert not torch.equal(pair(0), pair(1))


def test_lora_plus_groups_are_those_of_peft_s_optimizer(tiny: Path) -> None:
    adapter = adapted(tiny, lora_plus.Config(rank=4, ratio=16.0))
    theirs = create_loraplus_optimizer(
        adapter.network,  # pyright: ignore[reportArgumentType]
        torch.optim.AdamW,
        lr=1e-3,
        loraplus_lr_ratio=16.0,
        loraplus_weight_decay=0.1,
    )
    expected = {id(p): (g["lr"], g["weight_decay"]) for g in theirs.param_groups for p in g["params"]}
    groups = optimizer_groups(adapter, 1e-3, 0.1)
    assert [group["lr"] for group in groups] == [1e-3, 16e-3]
    assert {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]} == expected


def test_bitfit_trains_the_biases_and_ia3_scales_them(biased: Path) -> None:
    """Queries 32, keys and values 2 x 8 each, of two layers."""
    adapter = adapted(biased, bitfit.Config())
    assert sum(p.numel() for p in adapter.network.parameters() if p.requires_grad) == 2 * (32 + 16 + 16)
    assert all(name.endswith(".bias") for name in adapter.saved())
    scaled = adapted(biased, ia3.Config())
    stir(scaled)
    plain = AutoModelForCausalLM.from_pretrained(biased, dtype=torch.float32)
    plain.load_state_dict(merged(scaled), strict=False)
    torch.testing.assert_close(hidden(scaled.network), hidden(plain), atol=1e-5, rtol=1e-5)
