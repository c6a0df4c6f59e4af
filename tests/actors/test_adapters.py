"""Every kind of adapter in the real trainer: ZeRO 0 to 3 train alike, go on bit for bit, move nothing else, and leave
what plain transformers loads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.train_engine import Crew, Setting, assert_trained_alike, rows
from transformers import AutoModelForCausalLM

from rlsys.models.adapters import bottleneck, dora, freeze, ia3, lora_plus, rslora, vera
from rlsys.models.adapters.base import AdapterConfig

pytestmark = [pytest.mark.engine, pytest.mark.slow]

KINDS: dict[str, AdapterConfig] = {
    "rslora": rslora.Config(rank=4, dropout=0.1, modules_to_save=("model.norm",)),
    "dora": dora.Config(rank=4),
    "lora_plus": lora_plus.Config(rank=4),
    "vera": vera.Config(rank=16),
    "ia3": ia3.Config(),
    "freeze": freeze.Config(layers=2),
    "houlsby": bottleneck.Config(size=8, placement="houlsby"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_trains_alike_at_every_stage_of_zero_and_goes_on_exactly(two: Crew, tmp_path: Path, kind: str) -> None:
    """ZeRO 3 with activations computed again and no parameter whole on a rank."""
    weights, adapter = [], KINDS[kind]
    for zero in (0, 1, 2, 3):
        setting = Setting(zero=zero, adapter=adapter, checkpointing=zero == 3, spread=zero == 3)
        two.build(setting)
        start = two.all("weights")[0]
        for seed in range(2):
            two.all("train", rows(seed))
        two.all("call", "save_state", tmp_path / str(zero))
        straight = two.all("train", rows(2)), two.all("call", "weight_hash")
        two.build(setting)
        two.all("call", "load_state", tmp_path / str(zero))
        assert (two.all("train", rows(2)), two.all("call", "weight_hash")) == straight
        weights.append(two.all("weights")[0])
        # Of the model's own names: an adapter without names of its own there changed what it is merged into.
        changed = {name for name in start if not torch.equal(start[name], weights[-1][name])}
        assert changed == CHANGED[kind](set(start))
    if kind != "rslora":  # whose dropout draws otherwise where activations are computed again
        for found in weights[1:]:
            assert_trained_alike(found, weights[0])

    two.all("call", "export", tmp_path / "final")
    assert (tmp_path / "final" / "adapter" / "adapter_model.safetensors").is_file() == (kind != "freeze")
    if kind == "houlsby":
        assert not (tmp_path / "final" / "config.json").exists()
        return
    batch = rows(9)
    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "final")
    table = exported(batch.token_ids_BT).logits[:, :-1].float().log_softmax(-1)
    expected = torch.zeros(batch.token_ids_BT.shape)
    expected[:, 1:] = table.gather(-1, batch.token_ids_BT[:, 1:, None])[..., 0].detach()
    torch.testing.assert_close(two.all("log_probs", batch)[0], expected * batch.loss_mask_BT, rtol=0, atol=1e-5)


def linear(names: set[str]) -> set[str]:
    return {name for name in names if name.endswith("_proj.weight")}


CHANGED = {
    "rslora": lambda names: linear(names) | {"model.norm.weight"},
    "dora": linear,
    "lora_plus": linear,
    "vera": linear,
    "ia3": lambda names: {n for n in names if any(part in n for part in ("k_proj", "v_proj", "down_proj"))},
    "freeze": lambda names: {n for n in names if n.startswith("model.layers.2.")} | {"model.norm.weight"},
    "houlsby": lambda names: {n for n in names if ".up." in n or ".down." in n},
}
