"""The trainer on a GPU: NCCL, bfloat16, offloading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import ray
import torch

from actors.group import PolicyGroup
from actors.trainer import TrainerActor
from rlsys.batch import Batch
from rlsys.config.actors import ModelConfig, PolicyConfig
from rlsys.objectives.likelihood_loss import CrossEntropyLoss
from rlsys.objectives.stats import values
from rlsys.playground.models import build

pytestmark = [
    pytest.mark.engine,
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]

TIMEOUT = 120.0
SETTINGS: list[dict[str, Any]] = [
    {"zero_stage": 0},
    {"zero_stage": 1},
    {"zero_stage": 2, "offload_optimizer": True},
    {"zero_stage": 3},
    {"zero_stage": 3, "offload_optimizer": True, "offload_parameters": True},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_training_lowers_the_loss(ray_session: None, tmp_path: Path, settings: dict[str, Any]) -> None:
    model = build("0.5m", tmp_path / "0.5m")
    config = PolicyConfig(tokens_per_micro_batch=256, learning_rate=1e-3, **settings)
    remote: Any = ray.remote(TrainerActor).options(num_gpus=1)
    actor = remote.remote(ModelConfig(path="unused", dtype="bfloat16"), config, model, 20, 0, 0, TIMEOUT)
    policy = PolicyGroup("policy", [actor], config.tokens_per_micro_batch, TIMEOUT)
    policy.start(TIMEOUT)
    generator = torch.Generator().manual_seed(0)
    mask = torch.ones(16, 32, dtype=torch.bool)
    mask[:, 0] = False
    batch = Batch(torch.randint(0, 256, (16, 32), generator=generator), mask, torch.full((16,), 32))
    losses = []
    for _ in range(10):
        losses.append(values(policy.forward_backward(batch, CrossEntropyLoss()))["nll"])
        policy.optimizer_step()
    nll = -float(policy.log_probs(batch, 1.0).sum() / mask.sum())
    assert nll < losses[0] - 0.5
    assert nll == pytest.approx(losses[-1], abs=0.3)
    policy.save_state(tmp_path / "state")
    before = policy.weight_hash()
    policy.load_state(tmp_path / "state")
    assert policy.weight_hash() == before
    ray.kill(actor)
