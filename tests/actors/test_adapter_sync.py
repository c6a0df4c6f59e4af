"""An adapter sent alone, through real engines: what samples is bit for bit what whole merged weights give, and what was
never delivered stops the step by its name."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import cloudpickle
from support.engine_setup import GREEDY, TIMEOUT, Setup, Tampering

from actors.group import PolicyGroup
from actors.trainer import TrainerActor
from actors.wait import fetch
from actors.weight_sync.sender import Sender, SendPlan
from actors.weight_sync.sync import WeightSyncHandle
from rlsys.batch import ScoredBatch
from rlsys.config.actors import ModelConfig, PolicyConfig, SyncConfig
from rlsys.errors import WeightSyncError
from rlsys.models.adapters import dora, freeze, ia3, qlora, rslora, vera
from rlsys.models.adapters.base import AdapterConfig
from rlsys.models.adapters.lora import Config as Lora
from rlsys.objectives.likelihood_loss import CrossEntropyLoss
from rlsys.samples import Score, ScoredGroup

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers can't import this file
pytestmark = [pytest.mark.engine, pytest.mark.slow]

LAYER = 4 * (128 + 128) + 3 * (128 + 256)
"""Rows and columns of a layer's linear weights: the numbers that a rank takes."""
SOME = Lora(rank=4, target_modules=("q_proj", "down_proj"), modules_to_save=("model.norm",))
A, B = (f"model.layers.1.self_attn.q_proj.lora_{part}.default.weight" for part in "AB")


class TamperedTrainer(TrainerActor):
    """Damages what it sends, once, when told to."""

    def open_sender(self, samplers: Sequence[Any], plan: SendPlan) -> None:
        tampering = Tampering(samplers, plan.timeout)
        self._sender = Sender(self.engine, tampering, plan, self.rank, "127.0.0.1", self.engine.device)
        tampering.buffer = self._sender.channel.buffer

    def set_fault(self, fault: str, victim: str) -> None:
        assert self._sender is not None
        self._sender.samplers.fault, self._sender.samplers.victim = fault, victim  # type: ignore[attr-defined]


class Trained:
    """A policy with an adapter, and its syncs to the engines of the whole module."""

    def __init__(self, setup: Setup, model: Path, adapter: AdapterConfig, stage: int = 2, ranks: int = 1) -> None:
        self.setup, config = setup, PolicyConfig(ranks=ranks, zero_stage=stage, learning_rate=2e-3)
        remote: Any = ray.remote(TamperedTrainer).options(
            num_cpus=1, runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}}
        )
        spec = ModelConfig(path=str(model), dtype="float32", adapter=adapter)
        actors = [remote.remote(spec, config, model, 20, 0, None, rank, TIMEOUT) for rank in range(ranks)]
        self.policy = PolicyGroup("policy", actors, 4096, TIMEOUT)
        self.policy.start(TIMEOUT)
        self.sync = self.opened("adapter")

    def opened(self, content: str) -> WeightSyncHandle:
        plan = replace(self.setup.sync.plan, content=content)
        return WeightSyncHandle(self.policy, self.setup.rollout, SyncConfig(), plan, "float32", seed=3)

    def send(self, sync: WeightSyncHandle | None = None) -> int:
        """Returns the bytes."""
        self.setup.version += 1
        report = (sync or self.sync).sync(self.setup.version)
        assert report.probe_gap < 1e-5
        return report.bytes

    def sampled(self) -> ScoredBatch:
        """Greedy answers of both engines."""
        groups = [group for _, group in sorted(self.setup.sample(GREEDY).items())]
        scored = [ScoredGroup(g.prompt, g.trajectories, tuple(Score(0.0) for _ in g.trajectories)) for g in groups]
        return ScoredBatch.from_groups(scored, pad_id=0)

    def step(self) -> None:
        self.policy.forward_backward(self.sampled(), CrossEntropyLoss())
        self.policy.optimizer_step()

    def answers(self) -> list[list[float]]:
        """The sampler's log-probs, which must be the trainer's."""
        batch = self.sampled()
        gap = (self.policy.log_probs(batch, 1.0) - batch.sampler_log_probs_BT).abs().max()
        assert float(gap) < 1e-5
        return batch.sampler_log_probs_BT.tolist()

    def end(self) -> None:
        for actor in self.policy.actors:
            ray.kill(actor)


@pytest.fixture(scope="module")
def trained(setup: Setup, model_path: Path) -> Iterator[Trained]:
    made = Trained(
        setup, model_path, Lora(rank=4, target_modules=("q_proj", "down_proj"), modules_to_save=("model.norm",))
    )
    yield made
    made.end()
    setup.rejoin()


@pytest.mark.parametrize(
    ("adapter", "stage", "ranks", "numbers"),
    [
        pytest.param(Lora(rank=4), 3, 2, 3 * 4 * LAYER, id="lora-zero3"),
        pytest.param(rslora.Config(rank=4, modules_to_save=("model.norm",)), 2, 1, 3 * 4 * LAYER + 128, id="rslora"),
        pytest.param(dora.Config(rank=4), 2, 1, 3 * (4 * LAYER + 4 * 128 + 2 * 256 + 128), id="dora"),
        pytest.param(vera.Config(rank=16), 2, 1, 3 * (7 * 16 + 4 * 128 + 2 * 256 + 128), id="vera"),
        pytest.param(qlora.Config(rank=4, target_modules=("v_proj",)), 2, 1, 3 * 4 * 256, id="qlora"),
        pytest.param(ia3.Config(), 2, 1, 3 * (128 + 128 + 256), id="ia3"),
        pytest.param(freeze.Config(layers=2), 2, 1, 4 * 128**2 + 3 * 128 * 256 + 2 * 32 + 3 * 128, id="freeze"),
    ],
)
def test_only_what_is_trained_travels_and_samples_are_those_of_whole_merged_weights(
    setup: Setup, model_path: Path, adapter: AdapterConfig, stage: int, ranks: int, numbers: int
) -> None:
    """After two steps, bit for bit. Numbers are counted by hand, four bytes each."""
    trained = Trained(setup, model_path, adapter, stage, ranks)
    trained.send()
    before = trained.answers()
    for _ in range(2):
        trained.step()
        assert trained.send() == 4 * numbers
    alone = trained.answers()
    assert alone != before
    merged = trained.opened("merged")
    assert trained.send(merged) > 4 * 400_000
    assert trained.answers() == alone
    trained.end()


@pytest.mark.parametrize(
    ("fault", "victim", "message"),
    [
        ("dropped", A, f"tensor {A}: missing from the sync of version"),
        ("dropped", B, f"tensor {B}: missing from the sync of version"),
        ("dropped", "model.norm.weight", "tensor model.norm.weight: missing from the sync of version"),
        ("stale", B, f"tensor {B}: is stale: the bytes are still those of version"),
        ("old", B, f"tensor {B}: is stale: it is of version"),
    ],
)
def test_what_was_never_delivered_is_named(trained: Trained, fault: str, victim: str, message: str) -> None:
    trained.send()
    trained.step()
    trained.send()
    trained.step()
    fetch(trained.policy.actors[0].set_fault.remote(fault, victim), "fault", TIMEOUT)
    with pytest.raises(WeightSyncError) as caught:
        trained.send()
    assert str(caught.value).startswith(message)
    with pytest.raises(WeightSyncError, match="no proven weights"):
        trained.sampled()
    trained.send()  # a good sync makes the engines whole again
    trained.answers()


def test_engines_that_outlive_a_trainer_keep_nothing_of_it(
    trained: Trained, setup: Setup, model_path: Path, tmp_path: Path
) -> None:
    """The next one goes on from its state, with its first sync; a weight of the base that does not come is caught."""
    trained.send()
    trained.step()
    trained.policy.save_state(tmp_path)
    trained.send()
    expected = trained.answers()
    trained.step()
    trained.send()
    other = Trained(
        setup, model_path, Lora(rank=4, target_modules=("q_proj", "down_proj"), modules_to_save=("model.norm",))
    )
    other.policy.load_state(tmp_path)
    lost = "model.layers.0.self_attn.k_proj.weight"
    fetch(other.policy.actors[0].set_fault.remote("dropped", lost), "fault", TIMEOUT)
    with pytest.raises(WeightSyncError, match=f"tensor {lost}: missing"):
        other.send()
    other.send()
    assert other.answers() == expected
    other.end()
