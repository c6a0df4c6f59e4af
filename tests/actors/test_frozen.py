"""A frozen actor as plain Python: what a teacher names is what transformers' own logits say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.token_rows import rows
from transformers import AutoModelForCausalLM

from actors.frozen import FrozenActor
from rlsys.config.actors import ModelConfig

MODEL = ModelConfig(path="unused", dtype="float32")


@pytest.mark.parametrize("k", [1, 5, 0])
def test_a_teacher_names_the_most_likely_tokens(model_path: Path, k: int) -> None:
    actor, batch = FrozenActor(MODEL, 1, model_path, False), rows()
    actor.start()
    found = actor.top_log_probs(batch, [[0, 1], [2, 3]], k, 262, 0.8)
    assert found is not None
    choices, log_probs = found
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32)(batch.token_ids_BT).logits
    table = (logits[:, :-1] / 0.8).log_softmax(-1)
    values, ids = table.topk(k or 262)
    mask = batch.loss_mask_BT[:, 1:]
    # Of two tokens whose log-probs differ by less than rounding, either may come first.
    torch.testing.assert_close(table.gather(-1, choices[:, 1:])[mask], values[mask], atol=5e-6, rtol=0)
    torch.testing.assert_close(log_probs[:, 1:, :-1][mask], values[mask], atol=5e-6, rtol=0)
    assert torch.equal(choices[:, 1:][mask].sort(-1).values, ids[mask].sort(-1).values)
    assert actor.top_log_probs(batch, [[]], k, 262, 0.8) is None
