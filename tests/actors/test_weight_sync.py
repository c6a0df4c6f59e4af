"""Trainer to sampler through real engines: what was sent is what samples, and what did not arrive stops the step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from support.engine_setup import GREEDY, PROMPTS, SAMPLED, TIMEOUT, VICTIM, Setup
from transformers import AutoModelForCausalLM

from actors.group import PolicyGroup
from actors.trainer import TrainerActor
from actors.wait import fetch
from actors.weight_sync.sync import WeightSyncHandle
from rlsys.batch import Batch, ScoredBatch
from rlsys.config.actors import ModelConfig, PolicyConfig, SyncConfig
from rlsys.errors import WeightSyncError
from rlsys.models.adapters.base import AdapterConfig
from rlsys.models.adapters.lora import Config as Lora
from rlsys.objectives.likelihood_loss import CrossEntropyLoss
from rlsys.samples import Group, Score, ScoredGroup

pytestmark = pytest.mark.engine


def test_greedy_answers_change_with_the_weights_and_come_back_with_them(setup: Setup) -> None:
    answers = []
    for seed in (1, 2, 1):
        setup.trainer.change(seed)
        assert setup.send() < 1e-5
        answers.append({name: group.trajectories[0] for name, group in setup.sample(GREEDY).items()})
    first, other, again = (
        {name: (sample.token_ids, sample.log_probs) for name, sample in answer.items()} for answer in answers
    )
    assert first != other
    assert first == again  # bit for bit
    versions = [{version for sample in answer.values() for version in sample.policy_versions} for answer in answers]
    assert versions == [{-1, setup.version - 2}, {-1, setup.version - 1}, {-1, setup.version}]


def test_samples_depend_on_seeds_and_not_on_the_engine(setup: Setup) -> None:
    setup.send()
    one, two, other = (
        setup.sample(SAMPLED, engines=1),
        setup.sample(SAMPLED, engines=2),
        setup.sample(SAMPLED, tag="other"),
    )
    tokens = [
        {name: [sample.token_ids for sample in group.trajectories] for name, group in groups.items()}
        for groups in (one, two, other)
    ]
    assert tokens[0] == tokens[1] != tokens[2]
    assert all(len({tuple(sample) for sample in samples}) == SAMPLED.n for samples in tokens[0].values())


def test_sampler_log_probs_are_the_trainers(setup: Setup) -> None:
    setup.send()
    for sample in (sample for group in setup.sample(SAMPLED).values() for sample in group.trajectories):
        ids = torch.tensor([sample.token_ids])
        trainer = setup.trainer.log_probs(
            Batch(ids, torch.zeros_like(ids, dtype=torch.bool), torch.tensor([ids.shape[1]])), 1.0
        )[0]
        gaps = [
            abs(a - b)
            for a, b, inside in zip(trainer.tolist(), sample.log_probs, sample.loss_mask, strict=True)
            if inside
        ]
        assert len(gaps) == sample.response_length
        assert max(gaps) < 1e-5


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("dropped", f"tensor {VICTIM}: missing"),
        ("renamed", f"tensor {VICTIM}s: was sent but is none of the"),
        ("truncated", f"tensor {VICTIM}: was cut short: 65536 bytes came of 131072"),
        ("bit-flipped", f"tensor {VICTIM}: its bytes changed on the way"),
        ("stale", f"tensor {VICTIM}: is stale: the bytes are still those of version"),
    ],
)
def test_a_damaged_tensor_stops_the_step(setup: Setup, fault: str, message: str) -> None:
    setup.trainer.change(5)
    setup.send()
    setup.trainer.change(6)
    fetch(setup.trainer.actors[0].set_fault.remote(fault), "fault", TIMEOUT)
    with pytest.raises(WeightSyncError) as caught:
        setup.send()
    assert str(caught.value).startswith(message)
    with pytest.raises(WeightSyncError, match="no proven weights"):
        setup.sample(GREEDY)
    assert setup.send() < 1e-5  # a good sync makes the engines whole again
    assert len(setup.sample(GREEDY)) == len(PROMPTS)


def test_a_sampler_that_computes_something_else_is_caught(setup: Setup) -> None:
    """Every byte arrives, but the trainer's own log-probs are of other weights."""
    setup.send()
    honest = setup.trainer.log_probs
    setup.trainer.log_probs = lambda batch, temperature: honest(batch, temperature) - 0.01  # type: ignore[method-assign]
    with pytest.raises(WeightSyncError, match=r"disagree on token 0 of the probe: log-prob -0\.01\d* and 0\.0"):
        setup.send()
    del setup.trainer.log_probs
    setup.send()


def test_gloo_brings_the_same_weights(setup: Setup) -> None:
    setup.trainer.change(1)
    setup.send()
    expected = setup.sample(GREEDY)
    setup.trainer.change(2)
    setup.send()
    plan = replace(setup.sync.plan, transport="gloo")
    over_gloo = WeightSyncHandle(setup.trainer, setup.rollout, SyncConfig(), plan, "float32", seed=3)
    setup.trainer.change(1)
    assert over_gloo.sync(setup.version).probe_gap < 1e-5
    assert {name: group.trajectories[0].log_probs for name, group in setup.sample(GREEDY).items()} == {
        name: group.trajectories[0].log_probs for name, group in expected.items()
    }
    setup.rejoin()


@pytest.mark.parametrize(
    ("stage", "ranks", "adapter", "syncs"),
    [
        pytest.param(0, 1, None, 5, marks=pytest.mark.slow, id="zero0"),
        pytest.param(1, 2, None, 20, id="zero1-2ranks"),
        pytest.param(2, 1, None, 5, marks=pytest.mark.slow, id="zero2"),
        pytest.param(3, 2, None, 20, id="zero3-2ranks"),
        pytest.param(3, 1, Lora(rank=4), 5, marks=pytest.mark.slow, id="zero3-lora"),
    ],
)
def test_sampler_and_trainer_agree_after_every_sync(
    setup: Setup, model_path: Path, stage: int, ranks: int, adapter: AdapterConfig | None, syncs: int
) -> None:
    """The real trainer: an optimizer step, a sync, and the log-probs of what is then sampled."""
    policy = start_policy(model_path, PolicyConfig(ranks=ranks, zero_stage=stage, learning_rate=2e-3), adapter, syncs)
    sync = WeightSyncHandle(policy, setup.rollout, SyncConfig(), setup.sync.plan, "float32", seed=3)
    before: list[list[float]] = []
    report = None
    for _ in range(syncs):
        setup.version += 1
        report = sync.sync(setup.version)
        assert report.probe_gap < 1e-5
        batch = sampled(setup.sample(replace(SAMPLED, n=2)))
        trainer = policy.log_probs(batch, SAMPLED.temperature)
        assert float((trainer - batch.sampler_log_probs_BT).abs().max()) < 1e-5
        assert trainer.tolist() not in before  # there was something new to send
        before.append(trainer.tolist())
        policy.forward_backward(batch, CrossEntropyLoss())
        policy.optimizer_step()
    assert report is not None
    assert report.tensors == 35
    assert report.bytes == 4 * sum(
        weight.numel() for weight in AutoModelForCausalLM.from_pretrained(model_path).parameters()
    )
    for actor in policy.actors:
        ray.kill(actor)
    setup.rejoin()


def start_policy(model: Path, config: PolicyConfig, adapter: AdapterConfig | None, steps: int) -> PolicyGroup:
    remote: Any = ray.remote(TrainerActor).options(num_cpus=1, runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}})
    spec = ModelConfig(path=str(model), dtype="float32", adapter=adapter)
    group = PolicyGroup(
        "policy",
        [remote.remote(spec, config, model, steps, 0, None, rank, TIMEOUT) for rank in range(config.ranks)],
        4096,
        TIMEOUT,
    )
    group.start(TIMEOUT)
    return group


def sampled(groups: dict[str, Group]) -> ScoredBatch:
    return ScoredBatch.from_groups(
        [ScoredGroup(g.prompt, g.trajectories, tuple(Score(0.0) for _ in g.trajectories)) for g in groups.values()],
        pad_id=0,
    )
