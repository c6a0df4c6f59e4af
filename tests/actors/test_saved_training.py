"""What the training engine saves: a state that training goes on from exactly, exports that load anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.train_engine import Crew, Setting, rankings, rows
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from rlsys.errors import CheckpointError
from rlsys.models.adapters.lora import Config as Lora
from rlsys.objectives.reward_model_loss import BradleyTerryLoss

pytestmark = pytest.mark.engine


@pytest.mark.slow
def test_adapters_and_a_scalar_head_train_go_on_and_export(two: Crew, tmp_path: Path) -> None:
    """An ensemble of three; dropout, so that a continued run needs its random state."""
    loss, setting = BradleyTerryLoss(), Setting(zero=3, budget=160, heads=3, adapter=Lora(rank=4, dropout=0.2))
    two.build(setting)
    start = two.all("weights")[0]
    two.all("train", rankings(), 1, loss)
    two.all("call", "save_state", tmp_path / "state")
    straight = two.all("train", rankings(), 1, loss), two.all("call", "weight_hash")
    two.build(setting)
    two.all("call", "load_state", tmp_path / "state")
    assert (two.all("train", rankings(), 1, loss), two.all("call", "weight_hash")) == straight

    weights = two.all("weights")[0]
    changed = {name for name in weights if not torch.equal(weights[name], start[name])}
    assert changed == {name for name in weights if name == "score.weight" or name.endswith("_proj.weight")}
    two.all("call", "export", tmp_path / "export")
    exported, batch = AutoModelForSequenceClassification.from_pretrained(tmp_path / "export"), rankings()
    lasts = [
        exported(batch.token_ids_BT[i : i + 1, :length]).logits[0].detach() for i, length in enumerate(batch.lengths_B)
    ]
    torch.testing.assert_close(two.all("scores", batch)[0], torch.stack(lasts), rtol=0, atol=1e-5)


@pytest.mark.parametrize("zero", [0, 1, 2, 3])
def test_training_goes_on_exactly_where_it_stopped(two: Crew, tmp_path: Path, zero: int) -> None:
    """Dropout in the adapters, warm-up and a cosine: what a continued run would get wrong if anything were missing."""
    adapter = Lora(rank=4, dropout=0.2) if zero in (2, 3) else None
    setting = Setting(
        zero=zero, adapter=adapter, schedule="cosine", warmup=2, dtype="bfloat16" if zero == 1 else "float32"
    )
    two.build(setting)
    straight = [two.all("train", rows(seed))[0] for seed in range(3)]
    two.all("call", "save_state", tmp_path)
    straight += [two.all("train", rows(seed))[0] for seed in (3, 4)]
    wanted = two.all("call", "weight_hash")
    two.build(setting)
    torch.manual_seed(0)
    assert two.all("call", "weight_hash") != wanted
    two.all("call", "load_state", tmp_path)
    resumed = [two.all("train", rows(seed))[0] for seed in (3, 4)]
    assert resumed == straight[3:]
    assert two.all("call", "weight_hash") == wanted
    assert wanted[0] == wanted[1]
    # Warm-up from 0 over two steps, then half a cosine over the other eighteen: 1/2 (1 + cos(pi / 18)) = 0.99240.
    assert [answer["learning_rate"] for answer in straight[:4]] == pytest.approx(
        [0.0, 5e-4, 1e-3, 0.99240e-3], rel=1e-4
    )


def test_a_state_of_other_ranks_is_refused(one: Crew, tmp_path: Path) -> None:
    one.build(Setting())
    one.all("call", "save_state", tmp_path)
    (tmp_path / "trainer" / "random-1.pt").touch()
    with pytest.raises(CheckpointError, match="no trainer state of 1 ranks"):
        one.all("call", "load_state", tmp_path)
    with pytest.raises(CheckpointError, match="no trainer state of 1 ranks"):
        one.all("call", "load_state", tmp_path / "missing")


@pytest.mark.parametrize(
    "setting",
    [Setting(zero=3, adapter=Lora(rank=4)), Setting(zero=2, dtype="bfloat16"), Setting(zero=3, untied=True)],
)
def test_an_export_loads_anywhere_and_computes_the_same(
    two: Crew, model_path: Path, untied_path: Path, tmp_path: Path, setting: Setting
) -> None:
    two.build(setting)
    for seed in range(2):
        two.all("train", rows(seed))
    two.all("call", "export", tmp_path)
    batch = rows(9)
    scores = two.all("log_probs", batch)[0]
    source = untied_path if setting.untied else model_path
    assert two.all("weights")[0].keys() == dict(AutoModelForCausalLM.from_pretrained(source).named_parameters()).keys()

    exported = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert str(exported.dtype) == f"torch.{setting.dtype}"
    table = exported(batch.token_ids_BT).logits[:, :-1].float().log_softmax(-1)
    expected = torch.zeros_like(scores)
    expected[:, 1:] = table.gather(-1, batch.token_ids_BT[:, 1:, None])[..., 0]
    tolerance = 1e-5 if setting.dtype == "float32" else 0.05
    torch.testing.assert_close(scores, expected.detach() * batch.loss_mask_BT, rtol=0, atol=tolerance)
    original = AutoTokenizer.from_pretrained(model_path)
    assert AutoTokenizer.from_pretrained(tmp_path).encode("Grüße") == original.encode("Grüße")
