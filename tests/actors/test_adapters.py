"""Every kind of adapter in the real trainer: ZeRO 0 to 3 train alike, go on bit for bit, move nothing else, and leave
what plain transformers loads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.train_engine import Crew, Setting, assert_trained_alike, rankings, rows
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from rlsys.config.actors import PolicyConfig
from rlsys.models.adapters import (
    bottleneck,
    dora,
    freeze,
    ia3,
    lora,
    lora_plus,
    p_tuning,
    p_tuning_v2,
    prefix,
    prompt,
    qlora,
    rslora,
    vera,
)
from rlsys.models.adapters.base import AdapterConfig
from rlsys.models.cost import cost, placed
from rlsys.objectives.reward_model_loss import BradleyTerryLoss

pytestmark = [pytest.mark.engine, pytest.mark.slow]

KINDS: dict[str, AdapterConfig] = {
    "rslora": rslora.Config(rank=4, dropout=0.1, modules_to_save=("model.norm",)),
    "dora": dora.Config(rank=4),
    "lora_plus": lora_plus.Config(rank=4),
    "qlora": qlora.Config(rank=4),
    "vera": vera.Config(rank=16),
    "ia3": ia3.Config(),
    "freeze": freeze.Config(layers=2),
    "houlsby": bottleneck.Config(size=8, placement="houlsby"),
    "prompt": prompt.Config(tokens=4),
    "p_tuning": p_tuning.Config(tokens=4, hidden_size=16),
    "prefix": prefix.Config(tokens=4, hidden_size=16),
    "p_tuning_v2": p_tuning_v2.Config(tokens=4),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_trains_alike_at_every_stage_of_zero_and_goes_on_exactly(two: Crew, tmp_path: Path, kind: str) -> None:
    """The last stage with activations computed again, and ZeRO 3 with no parameter whole on a rank."""
    weights, adapter = [], KINDS[kind]
    again, last = "checkpointing" not in adapter.never_with, 2 if "zero_3" in adapter.never_with else 3
    for zero in range(last + 1):
        setting = Setting(zero=zero, adapter=adapter, checkpointing=again and zero == last, spread=zero == 3)
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
    if adapter.unmergeable is not None:
        assert not (tmp_path / "final" / "config.json").exists()
        return
    batch = rows(9)
    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "final")
    table = exported(batch.token_ids_BT).logits[:, :-1].float().log_softmax(-1)
    expected = torch.zeros(batch.token_ids_BT.shape)
    expected[:, 1:] = table.gather(-1, batch.token_ids_BT[:, 1:, None])[..., 0].detach()
    torch.testing.assert_close(two.all("log_probs", batch)[0], expected * batch.loss_mask_BT, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["dora", "vera", "houlsby", "p_tuning", "prefix"])
def test_a_reward_model_trains_its_head_and_the_adapter(two: Crew, tmp_path: Path, kind: str) -> None:
    setting = Setting(zero=3, budget=160, heads=2, adapter=KINDS[kind], spread=True)
    two.build(setting)
    start, loss = two.all("weights")[0], BradleyTerryLoss()
    two.all("train", rankings(), 1, loss)
    two.all("train", rankings(), 1, loss)
    weights = two.all("weights")[0]
    changed = {name for name in weights if not torch.equal(weights[name], start[name])}
    assert changed == CHANGED[kind](set(start)) | {"score.weight"}
    two.all("call", "export", tmp_path / "final")
    scores = two.all("scores", rankings())[0]
    if KINDS[kind].unmergeable is None:
        exported, batch = AutoModelForSequenceClassification.from_pretrained(tmp_path / "final"), rankings()
        found = [
            exported(batch.token_ids_BT[i : i + 1, :length]).logits[0].detach()
            for i, length in enumerate(batch.lengths_B)
        ]
        torch.testing.assert_close(scores, torch.stack(found), rtol=0, atol=1e-5)


@pytest.mark.parametrize("zero", [0, 2])
@pytest.mark.parametrize("adapter", [None, lora.Config(rank=4)], ids=["full", "lora"])
def test_what_cost_says_is_what_the_trainer_holds(
    one: Crew, model_path: Path, tmp_path: Path, adapter: AdapterConfig | None, zero: int
) -> None:
    setting = Setting(zero=zero, adapter=adapter)
    one.build(setting)
    one.all("train", rows(0))
    said = cost(placed(setting.model_config(), model_path, None), PolicyConfig(zero_stage=zero))
    weights, optimizer = one.all("held")[0]
    assert said.weights == weights
    assert said.optimizer == pytest.approx(optimizer, rel=1e-3)  # torch counts steps in numbers of their own
    if adapter is not None:
        assert said.trained == 3 * 4 * (4 * 256 + 3 * 384)
        one.all("call", "export", tmp_path)
        file = tmp_path / "adapter" / "adapter_model.safetensors"
        assert said.file is not None
        assert 0 < file.stat().st_size - said.file < 10_000  # names and shapes


@pytest.mark.parametrize("zero", [0, 2])
def test_a_changed_learning_rate_keeps_lora_plus_ratio(one: Crew, tmp_path: Path, zero: int) -> None:
    """From the checkpoint on: A at the new rate, B at 16 times it, after a warm-up that is over."""
    adapter = KINDS["lora_plus"]
    one.build(Setting(zero=zero, adapter=adapter, learning_rate=1e-3, warmup=1))
    for seed in range(2):
        one.all("train", rows(seed))
    one.all("call", "save_state", tmp_path)
    one.build(Setting(zero=zero, adapter=adapter, learning_rate=2e-4, warmup=1))
    one.all("call", "load_state", tmp_path)
    assert one.all("rates")[0] == pytest.approx([2e-4, 16 * 2e-4])
    assert one.all("train", rows(2))[0]["learning_rate"] == pytest.approx(2e-4)
    assert one.all("rates")[0] == pytest.approx([2e-4, 16 * 2e-4])


def linear(names: set[str]) -> set[str]:
    return {name for name in names if name.endswith("_proj.weight")}


CHANGED = {
    "rslora": lambda names: linear(names) | {"model.norm.weight"},
    "dora": linear,
    "lora_plus": linear,
    "qlora": linear,
    "vera": linear,
    "ia3": lambda names: {n for n in names if any(part in n for part in ("k_proj", "v_proj", "down_proj"))},
    "freeze": lambda names: {n for n in names if n.startswith("model.layers.2.")} | {"model.norm.weight"},
    "houlsby": lambda names: {n for n in names if ".up." in n or ".down." in n},
    **dict.fromkeys(
        ("prompt", "p_tuning", "prefix", "p_tuning_v2"), lambda names: {n for n in names if ".prompt_encoder." in n}
    ),
}
