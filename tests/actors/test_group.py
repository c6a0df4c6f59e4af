"""Ranks as one handle: rows come back in order, statistics add up, fresh actors go on, a dead rank is named."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from actors.frozen import FrozenActor
from actors.group import CriticGroup, PolicyGroup, ReferenceGroup, RewardModelGroup, TeacherGroup
from actors.trainer import TrainerActor
from rlsys.batch import Batch, ComparisonBatch
from rlsys.config.actors import ModelConfig, PolicyConfig
from rlsys.errors import ActorError
from rlsys.models.value_model import load_value_model
from rlsys.objectives.distillation_loss import DistillationLoss
from rlsys.objectives.likelihood_loss import CrossEntropyLoss
from rlsys.objectives.reward_model_loss import BradleyTerryLoss
from rlsys.objectives.stats import values
from rlsys.playground.models import build

pytestmark = pytest.mark.engine

TIMEOUT = 120.0
MODEL = ModelConfig(path="unused", dtype="float32")
POLICY = PolicyConfig(ranks=2, zero_stage=2, tokens_per_micro_batch=100, learning_rate=1e-3)


def rows(seed: int, count: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(5, 41, (count,), generator=generator)
    places = torch.arange(int(lengths.max()))
    token_ids = torch.randint(0, 256, (count, len(places)), generator=generator)
    return Batch(token_ids, (places >= 3) & (places < lengths[:, None]), lengths)


def remote(actor: type) -> Any:
    return ray.remote(actor).options(num_cpus=1, runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}})


def start_policy(model: Path) -> PolicyGroup:
    actors = [remote(TrainerActor).remote(MODEL, POLICY, model, 10, 0, None, rank, TIMEOUT) for rank in range(2)]
    group = PolicyGroup("policy", actors, POLICY.tokens_per_micro_batch, TIMEOUT)
    group.start(TIMEOUT)
    return group


def plain_log_probs(model: Path, batch: Batch, temperature: float) -> Tensor:
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)(batch.token_ids_BT).logits
    table = (logits[:, :-1] / temperature).log_softmax(-1)
    picked = table.gather(-1, batch.token_ids_BT[:, 1:, None])[..., 0]
    return torch.nn.functional.pad(picked, (1, 0)) * batch.loss_mask_BT


def check_teacher(model: Path, policy: PolicyGroup, reference: ReferenceGroup) -> None:
    """The reference's replicas as a teacher of a student that knows 250 tokens; the policy, equal to it, finds no
    difference, and learns nothing."""
    teacher = TeacherGroup(reference.actors, 70, TIMEOUT, 3, 250)
    teacher.packed = reference.packed
    before = policy.weight_hash()
    for batch in (rows(0, 9), rows(1, 1)):
        taught = teacher.teach(batch, 0.8)
        with torch.no_grad():
            logits = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)(batch.token_ids_BT).logits
        table = (logits[:, :-1] / 0.8).log_softmax(-1)
        mask, choices = batch.loss_mask_BT[:, 1:], taught.choices_BTK[:, 1:]
        top = table[..., :250].topk(3).values[mask]
        torch.testing.assert_close(table.gather(-1, choices)[mask], top, atol=5e-6, rtol=0)
        torch.testing.assert_close(taught.teacher_log_probs_BTO[:, 1:, :3][mask], top, atol=5e-6, rtol=0)
        stats = values(policy.evaluate(taught, DistillationLoss("jsd", temperature=0.8)))
        assert stats["loss"] == pytest.approx(0.0, abs=1e-6)
        assert stats["nll"] == pytest.approx(
            float(-plain_log_probs(model, batch, 0.8).sum() / batch.loss_mask_BT.sum()), rel=1e-6
        )
    assert policy.weight_hash() == before


@pytest.mark.slow
def test_policy_and_reference_from_start_to_a_dead_rank(ray_session: None, tmp_path: Path) -> None:
    """One story, because every start of actors takes seconds."""
    model = build("0.5m", tmp_path / "0.5m")
    policy = start_policy(model)
    reference = ReferenceGroup(
        [remote(FrozenActor).remote(MODEL, 1, model, False) for _ in range(2)], 70, TIMEOUT, model
    )
    reference.start(TIMEOUT)

    # Rows come back in the batch's order and width, also when there are fewer rows than ranks.
    for batch in (rows(0, 9), rows(1, 1)):
        expected = plain_log_probs(model, batch, 0.8)
        for role in (policy, reference):
            torch.testing.assert_close(role.log_probs(batch, 0.8), expected, atol=5e-6, rtol=0)

    check_teacher(model, policy, reference)

    # Statistics are those of the whole batch, not of a rank.
    batch = rows(2, 9)
    nll = float(-plain_log_probs(model, batch, 1.0).sum() / batch.loss_mask_BT.sum())
    before = policy.weight_hash()
    assert values(policy.forward_backward(batch, CrossEntropyLoss())) == pytest.approx(
        {"loss": nll, "nll": nll}, rel=1e-6
    )
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
    torch.testing.assert_close(
        policy.log_probs(batch, 1.0), plain_log_probs(tmp_path / "export", batch, 1.0), atol=5e-6, rtol=0
    )

    # A rank that dies is named, long before the limit.
    ray.kill(policy.actors[1])
    started = time.monotonic()
    with pytest.raises(ActorError, match="actor TrainerActor died"):
        policy.forward_backward(batch, CrossEntropyLoss())
    assert time.monotonic() - started < 20
    for actor in (*policy.actors, *fresh.actors, *reference.actors):
        ray.kill(actor)


def start_critic(model: Path, heads: int, ranks: int) -> CriticGroup:
    config = POLICY.model_copy(update={"ranks": ranks})
    actors = [remote(TrainerActor).remote(MODEL, config, model, 10, 0, heads, rank, TIMEOUT) for rank in range(ranks)]
    group = CriticGroup("critic", actors, config.tokens_per_micro_batch, TIMEOUT)
    group.start(TIMEOUT)
    return group


def pairs(seed: int) -> ComparisonBatch:
    """Four pairs, the answers to a prompt apart from each other."""
    batch, units = rows(seed, 8), torch.arange(4).repeat(2)
    return ComparisonBatch(
        batch.token_ids_BT, batch.loss_mask_BT, batch.lengths_B, units, torch.arange(8.0), torch.ones(8), units
    )


def plain_scores(network: Any, batch: Batch) -> Tensor:
    """Of every token, [B, T, K]: plain transformers' body and head, padding and all."""
    with torch.no_grad():
        return network.score(network.model(batch.token_ids_BT).last_hidden_state)


def test_a_reward_model_from_training_to_scoring_and_to_a_critic(ray_session: None, tmp_path: Path) -> None:
    """An ensemble of three on two ranks is trained and exported; a reward model and a critic start from that."""
    model = build("0.5m", tmp_path / "0.5m")
    trained = start_critic(model, heads=3, ranks=2)
    batch = pairs(0)
    last = (torch.arange(8), batch.lengths_B - 1)

    # As many columns as heads, rows in the batch's order; statistics of the whole batch.
    expected = plain_scores(load_value_model(model, torch.float32, heads=3, seed=0), batch)[last]
    torch.testing.assert_close(trained.scores(batch), expected, atol=5e-6, rtol=0)
    for seed in range(3):
        stats = values(trained.forward_backward(pairs(seed), BradleyTerryLoss()))
        trained.optimizer_step()
        if seed == 0:
            gap = expected[4:] - expected[:4]
            assert stats["margin"] == pytest.approx(float(gap.mean()), abs=1e-5)
            assert stats["spread"] == pytest.approx(float(gap.std(1).mean()), abs=1e-5)
    scores = trained.scores(batch)
    assert float((scores - expected).abs().max()) > 0.1
    trained.export(tmp_path / "reward_model")

    reward = [remote(FrozenActor).remote(MODEL, 1, tmp_path / "reward_model", True) for _ in range(2)]
    reward_model = RewardModelGroup("reward model", reward, 70, TIMEOUT)
    reward_model.start(TIMEOUT)
    critic = start_critic(tmp_path / "reward_model", heads=1, ranks=1)

    # Plain transformers, one by one and as a padded batch, the reward actors, and the critic's mean: all the same
    # function.
    network: Any = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward_model")
    padded = batch.token_ids_BT.clone()
    padded[torch.arange(padded.shape[1]) >= batch.lengths_B[:, None]] = network.config.pad_token_id
    with torch.no_grad():
        alone = torch.cat(
            [
                network(row[None, :length]).logits
                for row, length in zip(batch.token_ids_BT, batch.lengths_B, strict=True)
            ]
        )
        together = network(padded).logits
    for found in (alone, together, reward_model.scores(batch)):
        torch.testing.assert_close(found, scores, atol=1e-5, rtol=0)
    torch.testing.assert_close(critic.scores(batch), scores.mean(1, keepdim=True), atol=1e-5, rtol=0)
    before = torch.nn.functional.pad(plain_scores(network, batch).mean(-1)[:, :-1], (1, 0))
    torch.testing.assert_close(critic.values(batch), before * batch.loss_mask_BT, atol=1e-5, rtol=0)
    one = rows(5, 1)  # fewer rows than replicas
    torch.testing.assert_close(reward_model.scores(one), plain_scores(network, one)[:, -1], atol=1e-5, rtol=0)
    for actor in (*trained.actors, *critic.actors, *reward):
        ray.kill(actor)
