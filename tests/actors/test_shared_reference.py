"""The policy with its adapter switched off is the reference: in the real trainer, and as a run is given it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from support.train_engine import Crew, Setting, rows
from torch import Tensor

from actors.frozen import FrozenActor
from rlsys.batch import Batch
from rlsys.config.actors import ModelConfig
from rlsys.models.adapters import bottleneck, ia3, lora, p_tuning_v2, vera
from rlsys.models.adapters.base import AdapterConfig
from rlsys.objectives.likelihood_loss import CrossEntropyLoss
from rlsys.side_by_side import side_by_side

pytestmark = [pytest.mark.engine, pytest.mark.slow]

KINDS: dict[str, AdapterConfig] = {
    "lora": lora.Config(rank=4, dropout=0.1),
    "vera": vera.Config(rank=16),
    "ia3": ia3.Config(),
    "houlsby": bottleneck.Config(size=8, placement="houlsby"),
    "p_tuning_v2": p_tuning_v2.Config(tokens=4),
}


def separate(model_path: Path, batch: Batch) -> Tensor:
    """What a reference of its own says."""
    actor = FrozenActor(ModelConfig(path="unused", dtype="float32"), 1, model_path, False)
    actor.start()
    return actor.log_probs(batch, [[row] for row in range(len(batch))], 1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_it_says_what_a_reference_of_its_own_says_and_training_goes_on_as_if_unasked(
    two: Crew, model_path: Path, kind: str
) -> None:
    """On two ranks; ZeRO 3 with activations computed again and no parameter whole on a rank."""
    batch, adapter = rows(9), KINDS[kind]
    expected = separate(model_path, batch)
    for zero in (0, 3):
        again = zero == 3 and "checkpointing" not in adapter.never_with
        hashes = []
        for asks in (True, False):
            two.build(Setting(zero=zero, adapter=adapter, checkpointing=again, spread=zero == 3))
            for seed in range(2):
                two.all("train", rows(seed))
                if asks:
                    for found in two.all("base_log_probs", batch):
                        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
            if asks:
                own = two.all("log_probs", batch)[0]
                assert float((own - expected).abs().max()) > 1e-3  # it has learned
            two.all("train", rows(2))
            hashes.append(two.all("call", "weight_hash"))
        assert hashes[0] == hashes[1]


def test_a_run_gets_it_without_processes_of_its_own(ray_session: None, tmp_path: Path) -> None:
    """ZeRO 3 on two ranks, rows packed; asked from two threads at the same time, as PPO does."""
    from actors.group import ReferenceGroup, SharedReference
    from actors.spawn import spawn
    from rlsys.check.load import load
    from rlsys.models.load import local_path
    from rlsys.roles import SpawnRequest

    (tmp_path / "x.yaml").write_text(
        "name: x\nmodel: {path: 'playground:0.5m', dtype: float32, adapter: {kind: lora, rank: 4}}\n"
        "method: {name: dpo, batch_size: 2, max_tokens: 64}\ndata: {train: {path: pairs.jsonl}}\n"
        "policy: {ranks: 2, zero_stage: 3, learning_rate: 1.0e-2, packing: packed, tokens_per_micro_batch: 128}\n"
        f"loop: {{steps: 1}}\noutput: {tmp_path}\n",
        encoding="utf-8",
    )
    model, batch = local_path("playground:0.5m", tmp_path / "playground"), rows(9)
    request = SpawnRequest(frozenset({"policy", "reference"}), model, optimizer_steps=10, pad_id=256)
    said: list[Tensor] = []
    for share, kind in (("auto", SharedReference), ("never", ReferenceGroup)):
        experiment = load(tmp_path / "x.yaml", [f"reference.share={share}"], this_machine=False)
        with spawn(experiment, request) as roles:
            assert roles.policy is not None
            assert roles.reference is not None
            assert roles.reference.identity.startswith("0.5m@")
            assert type(roles.reference) is kind
            roles.policy.forward_backward(batch, CrossEntropyLoss())
            roles.policy.optimizer_step()
            both = {
                "policy": partial(roles.policy.log_probs, batch, 1.0),
                "reference": partial(roles.reference.log_probs, batch, 1.0),
            }
            for _ in range(5):
                found = side_by_side(both)
                said.append(found["reference"])
                assert float((found["policy"] - found["reference"]).abs().max()) > 1e-3
    for one in said:
        torch.testing.assert_close(one, said[-1], rtol=0, atol=1e-6)
    torch.testing.assert_close(said[-1], separate(model, batch), rtol=0, atol=1e-6)
