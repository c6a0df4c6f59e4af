"""A network whose adapter is switched off is the base model, and afterwards what it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.adapted import adapted, hidden, stir
from transformers import AutoModelForCausalLM

from rlsys.models.adapters import (
    bitfit,
    bottleneck,
    dora,
    freeze,
    ia3,
    lora,
    p_tuning,
    p_tuning_v2,
    vera,
)
from rlsys.models.adapters.base import AdapterConfig

# One of each way to be put in place: rslora and lora_plus are LoRA's, prompt p_tuning's, prefix p_tuning_v2's.
KEEP: dict[str, AdapterConfig] = {
    "lora": lora.Config(rank=4, dropout=0.1),
    "dora": dora.Config(rank=4),
    "vera": vera.Config(rank=16),
    "ia3": ia3.Config(),
    "houlsby": bottleneck.Config(size=8, placement="houlsby"),
    "p_tuning": p_tuning.Config(tokens=4, hidden_size=16),
    "p_tuning_v2": p_tuning_v2.Config(tokens=4),
}


@pytest.mark.parametrize("name", KEEP)
def test_switched_off_it_computes_what_the_base_does_bit_for_bit(tiny: Path, name: str) -> None:
    adapter = adapted(tiny, KEEP[name])
    stir(adapter)
    adapter.network.eval()
    plain = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    before, trained = hidden(adapter.network), set(adapter.saved())
    with adapter.disabled():
        assert torch.equal(hidden(adapter.network), hidden(plain))
    assert torch.equal(hidden(adapter.network), before)
    assert (before - hidden(plain)).abs().max() > 0.01
    assert set(adapter.saved()) == trained


def test_it_is_switched_on_again_after_an_error(tiny: Path) -> None:
    adapter = adapted(tiny, KEEP["lora"])
    stir(adapter)
    adapter.network.eval()
    before = hidden(adapter.network)
    with pytest.raises(ZeroDivisionError), adapter.disabled():
        _ = 1 / 0
    assert torch.equal(hidden(adapter.network), before)


@pytest.mark.parametrize(
    "config",
    [bitfit.Config(), freeze.Config(layers=1), lora.Config(modules_to_save=("model.norm",))],
    ids=["bitfit", "freeze", "a norm trained whole"],
)
def test_kinds_that_train_weights_of_the_base_leave_none_to_go_back_to(config: AdapterConfig) -> None:
    assert not config.keeps_base
