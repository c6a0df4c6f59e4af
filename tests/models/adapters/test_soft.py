"""Trained vectors before the input: counted by hand, and equal to plain peft, which loads what is saved."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from support.adapted import TOKENS, adapted, hidden, saved, stir
from transformers import AutoModelForCausalLM

from rlsys.errors import ConfigError
from rlsys.models.adapters import p_tuning, p_tuning_v2, prefix, prompt
from rlsys.models.adapters.base import AdapterConfig

KINDS: dict[str, tuple[AdapterConfig, int]] = {
    "prompt": (prompt.Config(tokens=5), 5 * 128),
    "p_tuning": (p_tuning.Config(tokens=5, hidden_size=16), 5 * 128 + 129 * 16 + 17 * 16 + 17 * 128),
    "prefix": (prefix.Config(tokens=5, hidden_size=16), 5 * 128 + 129 * 16 + 17 * 3 * 2 * 128),
    "p_tuning_v2": (p_tuning_v2.Config(tokens=5), 5 * 3 * 2 * 128),
}


@pytest.mark.parametrize("name", KINDS)
def test_it_computes_what_plain_peft_computes_of_what_is_saved(tiny: Path, tmp_path: Path, name: str) -> None:
    config, count = KINDS[name]
    adapter = adapted(tiny, config)
    assert sum(p.numel() for p in adapter.network.parameters() if p.requires_grad) == count
    assert adapter.saved() == [name for name in dict(adapter.network.named_parameters()) if "prompt_encoder" in name]
    stir(adapter)
    hidden(adapter.network).square().sum().backward()
    moved = {name for name, parameter in adapter.network.named_parameters() if parameter.grad is not None}
    assert moved == set(adapter.saved())
    folder = saved(adapter, tmp_path / "adapter", tiny)
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32), folder)
    head = adapter.network.get_output_embeddings()
    assert head is not None
    mine = head(hidden(adapter.network))
    theirs = plain(input_ids=TOKENS, attention_mask=torch.ones_like(TOKENS)).logits[:, -TOKENS.shape[1] :]
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


def test_a_prompt_is_gone_on_from_and_an_encoder_is_not_in_the_file(tiny: Path, tmp_path: Path) -> None:
    for config, exact in ((KINDS["p_tuning_v2"][0], True), (KINDS["p_tuning"][0], False)):
        adapter = adapted(tiny, config)
        stir(adapter)
        folder = saved(adapter, tmp_path / config.kind, tiny)
        going_on = config.model_copy(update={"path": str(folder)})
        if not exact:
            with pytest.raises(ConfigError, match="its encoder is not in the file"):
                adapted(tiny, going_on)
            continue
        assert torch.equal(hidden(adapted(tiny, going_on).network), hidden(adapter.network))
