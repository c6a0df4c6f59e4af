"""Ranks as one handle: rows come back in order, statistics add up, fresh actors go on, a dead rank is named."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from actors.group import PolicyGroup, ReferenceGroup
from actors.policy import PolicyActor
from actors.reference import ReferenceActor
from rlsys.batch import Batch
from rlsys.config.models import ModelConfig, PolicyConfig, ReferenceConfig
from rlsys.errors import ActorError
from rlsys.objectives.likelihood_loss import CrossEntropyLoss
from rlsys.objectives.stats import values
from rlsys.playground.models import build

pytestmark = pytest.mark.engine

TIMEOUT = 60.0
MODEL = ModelConfig(path="unused", dtype="float32")
POLICY = PolicyConfig(ranks=2, zero_stage=2, tokens_per_micro_batch=100, learning_rate=1e-3)
REFERENCE = ReferenceConfig(ranks=2, tokens_per_micro_batch=70)


def rows(seed: int, count: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(5, 41, (count,), generator=generator)
    places = torch.arange(int(lengths.max()))
    token_ids = torch.randint(0, 256, (count, len(places)), generator=generator)
    return Batch(token_ids, (places >= 3) & (places < lengths[:, None]), lengths)


def remote(actor: type) -> Any:
    return ray.remote(actor).options(num_cpus=1, runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}})


def start_policy(model: Path) -> PolicyGroup:
    actors = [remote(PolicyActor).remote(MODEL, POLICY, model, 10, 0, rank, TIMEOUT) for rank in range(2)]
    group = PolicyGroup(actors, POLICY.tokens_per_micro_batch, TIMEOUT)
    group.start(TIMEOUT)
    return group


def plain_log_probs(model: Path, batch: Batch, temperature: float) -> Tensor:
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)(batch.token_ids_BT).logits
    table = (logits[:, :-1] / temperature).log_softmax(-1)
    picked = table.gather(-1, batch.token_ids_BT[:, 1:, None])[..., 0]
    return torch.nn.functional.pad(picked, (1, 0)) * batch.loss_mask_BT


def test_policy_and_reference_from_start_to_a_dead_rank(ray_session: None, tmp_path: Path) -> None:
    """One story, because every start of actors takes seconds."""
    model = build("0.5m", tmp_path / "0.5m")
    policy = start_policy(model)
    reference = ReferenceGroup([remote(ReferenceActor).remote(MODEL, REFERENCE, model) for _ in range(2)], 70, TIMEOUT)
    reference.start(TIMEOUT)

    # Rows come back in the batch's order and width, also when there are fewer rows than ranks.
    for batch in (rows(0, 9), rows(1, 1)):
        expected = plain_log_probs(model, batch, 0.8)
        for role in (policy, reference):
            torch.testing.assert_close(role.log_probs(batch, 0.8), expected, atol=5e-6, rtol=0)

    # Statistics are those of the whole batch, not of a rank.
    batch = rows(2, 9)
    nll = float(-plain_log_probs(model, batch, 1.0).sum() / batch.loss_mask_BT.sum())
    before = policy.weight_hash()
    assert values(policy.forward_backward(batch, CrossEntropyLoss())) == pytest.approx({"loss": nll, "nll": nll}, rel=1e-6)
    assert values(policy.optimizer_step())["learning_rate"] == pytest.approx(1e-3)
    assert policy.weight_hash() != before
    torch.testing.assert_close(reference.log_probs(batch, 1.0), plain_log_probs(model, batch, 1.0), atol=5e-6, rtol=0)

    # Three steps, saved, and two more in fresh actors are five steps in one go, bit for bit.
    def train(group: PolicyGroup, seeds: range) -> list[float]:
        norms = []
        for seed in seeds:
            group.forward_backward(rows(seed, 7), CrossEntropyLoss())
            norms.append(values(group.optimizer_step())["grad_norm"])
        return norms

    train(policy, range(3, 5))
    policy.save_state(tmp_path / "state")
    straight = train(policy, range(5, 7)), policy.weight_hash()
    policy.export(tmp_path / "export")
    fresh = start_policy(model)
    assert fresh.weight_hash() == before
    fresh.load_state(tmp_path / "state")
    assert (train(fresh, range(5, 7)), fresh.weight_hash()) == straight
    torch.testing.assert_close(policy.log_probs(batch, 1.0), plain_log_probs(tmp_path / "export", batch, 1.0), atol=5e-6, rtol=0)

    # A rank that dies is named, long before the limit.
    ray.kill(policy.actors[1])
    started = time.monotonic()
    with pytest.raises(ActorError, match="actor PolicyActor died"):
        policy.forward_backward(batch, CrossEntropyLoss())
    assert time.monotonic() - started < 20
    for actor in (*policy.actors, *fresh.actors, *reference.actors):
        ray.kill(actor)
