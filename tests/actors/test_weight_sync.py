"""Trainer to sampler through real engines: what was sent is what samples, and what did not arrive stops the step."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from ray import cloudpickle
from torch import Tensor
from transformers import AutoModelForCausalLM

from actors.engines.spec import EngineSpec
from actors.group import PolicyGroup
from actors.policy import PolicyActor
from actors.rollout import RolloutActor, RolloutHandle, environment
from actors.wait import fetch
from actors.weight_sync.records import Update
from actors.weight_sync.sender import Samplers, Sender, SendPlan, Sent
from actors.weight_sync.sync import WeightSyncHandle
from rlsys.batch import Batch, Group, Prompt, Score, ScoredBatch, ScoredGroup
from rlsys.config.models import LoraConfig, ModelConfig, PolicyConfig, RolloutConfig, SyncConfig
from rlsys.errors import ActorError, WeightSyncError
from rlsys.objectives.likelihood_loss import CrossEntropyLoss
from rlsys.playground.models import build
from rlsys.roles import Sampling

pytestmark = pytest.mark.engine

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers can't import this file

VICTIM = "model.layers.1.mlp.up_proj.weight"
PROMPTS = [Prompt(f"p{i}", "", tuple((17 * i + 3 * j) % 250 for j in range(12))) for i in range(6)]
GREEDY = Sampling(0.0, 1.0, 0, 16, 1)
SAMPLED = Sampling(1.0, 1.0, 0, 16, 4)
TIMEOUT = 60.0


class Tampering(Samplers):
    """Damages what is on its way to the engines: once, in the sync after `fault` was set."""

    fault: str | None = None
    buffer: Tensor
    before: Tensor
    """The segment as the last sync left it."""

    def update_weights(self, update: Update) -> None:
        index = next((i for i, record in enumerate(update.records) if record.spec.name == VICTIM), None)
        if self.fault and index is not None:
            fault, self.fault = self.fault, None
            update = self.damaged(fault, update, index)
        if update.last:
            self.before = self.buffer.clone()
        super().update_weights(update)

    def damaged(self, fault: str, update: Update, index: int) -> Update:
        record = update.records[index]
        place = slice(record.offset, record.offset + record.nbytes)
        match fault:
            case "dropped":
                return replace(update, records=update.records[:index] + update.records[index + 1 :])
            case "renamed":
                record = replace(record, spec=replace(record.spec, name=VICTIM + "s"))
                return replace(update, records=(*update.records[:index], record, *update.records[index + 1 :]))
            case "truncated":
                return replace(update, nbytes=record.offset - update.offset + record.nbytes // 2)
            case "bit-flipped":
                self.buffer[record.offset + record.nbytes // 2] ^= 1
            case "stale":
                self.buffer[place] = self.before[place]
        return update


class PlainTrainer:
    """A Hugging Face model as the source of weights."""

    def __init__(self, model: Path) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        self.start = {name: weight.clone() for name, weight in self.model.state_dict().items()}

    def weight_metadata(self) -> list[tuple[str, torch.dtype, tuple[int, ...]]]:
        return [(name, weight.dtype, tuple(weight.shape)) for name, weight in self.model.named_parameters()]

    def named_weights(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.model.named_parameters()

    def open_sender(self, engines: Sequence[Any], plan: SendPlan) -> None:
        samplers = Tampering(engines, plan.timeout)
        self.sender = Sender(self, samplers, plan, 0, "127.0.0.1", torch.device("cpu"))
        samplers.buffer = self.sender.channel.buffer

    def send_weights(self, version: int) -> Sent:
        return self.sender.send(version)

    def set_fault(self, fault: str) -> None:
        self.sender.samplers.fault = fault  # type: ignore[attr-defined]

    def change_weights(self, seed: int | None) -> None:
        """Random weights near the first ones; None: the first ones."""
        self.model.load_state_dict(self.start)
        if seed is not None:
            generator = torch.Generator().manual_seed(seed)
            with torch.no_grad():
                for weight in self.model.parameters():
                    weight += 0.05 * torch.randn(weight.shape, generator=generator)

    def log_probs(self, token_ids_BT: Tensor) -> Tensor:
        with torch.no_grad():
            scores = self.model(token_ids_BT).logits.log_softmax(-1)
        picked = scores[:, :-1].gather(-1, token_ids_BT[:, 1:, None]).squeeze(-1)
        return torch.nn.functional.pad(picked, (1, 0))


@dataclass
class Trainer:
    actors: list[Any]

    def log_probs(self, batch: Batch, temperature: float) -> Tensor:
        assert temperature == 1.0
        return fetch(self.actors[0].log_probs.remote(batch.token_ids_BT), "log-probs", TIMEOUT)

    def change(self, seed: int | None) -> None:
        fetch(self.actors[0].change_weights.remote(seed), "new weights", TIMEOUT)


@dataclass
class Setup:
    trainer: Trainer
    rollout: RolloutHandle
    sync: WeightSyncHandle
    version: int = -1

    def send(self) -> float:
        self.version += 1
        return self.sync.sync(self.version).probe_gap

    def sample(self, sampling: Sampling, engines: int = 2, tag: str = "test") -> dict[str, Group]:
        handle = RolloutHandle(self.rollout.actors[:engines], SPEC, self.rollout.vocab_size, TIMEOUT)
        return {group.prompt.prompt_id: group for group in handle.generate(PROMPTS, sampling, tag)}


CONFIG = RolloutConfig(max_num_seqs=64)
SPEC = EngineSpec(model="", dtype="float32", max_model_len=80, seed=3, config=CONFIG)


def start_engines(model: Path, count: int) -> RolloutHandle:
    spec = replace(SPEC, model=str(model))
    remote: Any = ray.remote(RolloutActor).options(num_cpus=1, runtime_env={"env_vars": environment(CONFIG, on_gpu=False)})
    actors = [remote.remote(spec) for _ in range(count)]
    sizes = fetch([actor.start.remote() for actor in actors], "engines", TIMEOUT)
    return RolloutHandle(actors, spec, sizes[0], TIMEOUT)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("0.5m", tmp_path_factory.mktemp("model") / "m")


@pytest.fixture(scope="module")
def setup(ray_session: None, model: Path) -> Iterator[Setup]:
    rollout = start_engines(model, 2)
    remote_trainer: Any = ray.remote(PlainTrainer).options(num_cpus=1)
    trainer = Trainer([remote_trainer.remote(model)])
    plan = SendPlan("shared_memory", bucket_bytes=300_000, workers=1, timeout=TIMEOUT)
    yield Setup(trainer, rollout, WeightSyncHandle(trainer, rollout, SyncConfig(), plan, "float32", seed=3))
    for actor in [*rollout.actors, *trainer.actors]:
        ray.kill(actor)


def test_nothing_is_sampled_before_the_first_sync(setup: Setup) -> None:
    assert setup.version == -1, "this must be the module's first test"
    with pytest.raises(WeightSyncError, match="sync them before sampling"):
        setup.sample(GREEDY)


def test_greedy_answers_change_with_the_weights_and_come_back_with_them(setup: Setup) -> None:
    answers = []
    for seed in (1, 2, 1):
        setup.trainer.change(seed)
        assert setup.send() < 1e-5
        answers.append({name: group.trajectories[0] for name, group in setup.sample(GREEDY).items()})
    first, other, again = ({name: (sample.token_ids, sample.log_probs) for name, sample in answer.items()} for answer in answers)
    assert first != other
    assert first == again  # bit for bit
    versions = [{version for sample in answer.values() for version in sample.policy_versions} for answer in answers]
    assert versions == [{-1, setup.version - 2}, {-1, setup.version - 1}, {-1, setup.version}]


def test_samples_depend_on_seeds_and_not_on_the_engine(setup: Setup) -> None:
    setup.send()
    one, two, other = setup.sample(SAMPLED, engines=1), setup.sample(SAMPLED, engines=2), setup.sample(SAMPLED, tag="other")
    tokens = [{name: [sample.token_ids for sample in group.trajectories] for name, group in groups.items()} for groups in (one, two, other)]
    assert tokens[0] == tokens[1] != tokens[2]
    assert all(len({tuple(sample) for sample in samples}) == SAMPLED.n for samples in tokens[0].values())


def test_sampler_log_probs_are_the_trainers(setup: Setup) -> None:
    setup.send()
    for sample in (sample for group in setup.sample(SAMPLED).values() for sample in group.trajectories):
        ids = torch.tensor([sample.token_ids])
        trainer = setup.trainer.log_probs(Batch(ids, torch.zeros_like(ids, dtype=torch.bool), torch.tensor([ids.shape[1]])), 1.0)[0]
        gaps = [abs(a - b) for a, b, inside in zip(trainer.tolist(), sample.log_probs, sample.loss_mask, strict=True) if inside]
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


@pytest.mark.parametrize(
    ("stage", "ranks", "lora", "syncs"),
    [(0, 1, None, 20), (1, 2, None, 20), (2, 1, None, 20), (3, 2, None, 20), (3, 1, LoraConfig(rank=4), 5)],
    ids=["zero0", "zero1-2ranks", "zero2", "zero3-2ranks", "zero3-lora"],
)
def test_sampler_and_trainer_agree_after_every_sync(
    setup: Setup, model: Path, stage: int, ranks: int, lora: LoraConfig | None, syncs: int
) -> None:
    """The real trainer: an optimizer step, a sync, and the log-probs of what is then sampled."""
    policy = start_policy(model, PolicyConfig(ranks=ranks, zero_stage=stage, learning_rate=2e-3), lora, syncs)
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
    assert report.bytes == 4 * sum(weight.numel() for weight in AutoModelForCausalLM.from_pretrained(model).parameters())
    for actor in policy.actors:
        ray.kill(actor)


def start_policy(model: Path, config: PolicyConfig, lora: LoraConfig | None, steps: int) -> PolicyGroup:
    remote: Any = ray.remote(PolicyActor).options(num_cpus=1, runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}})
    spec = ModelConfig(path=str(model), dtype="float32", lora=lora)
    group = PolicyGroup([remote.remote(spec, config, model, steps, 0, rank, TIMEOUT) for rank in range(config.ranks)], 4096, TIMEOUT)
    group.start(TIMEOUT)
    return group


def sampled(groups: dict[str, Group]) -> ScoredBatch:
    return ScoredBatch.from_groups(
        [ScoredGroup(g.prompt, g.trajectories, tuple(Score(0.0) for _ in g.trajectories)) for g in groups.values()], pad_id=0
    )


def test_a_dead_engine_is_named_at_once(setup: Setup) -> None:
    """Last: it takes an engine from the module's setup."""
    setup.send()
    endless = Sampling(1.0, 1.0, 0, 64, 64)
    groups = setup.rollout.generate(PROMPTS * 20, endless, "test")
    next(groups)
    ray.kill(setup.rollout.actors[1])
    with pytest.raises(ActorError, match=r"RolloutActor died.*sampling engine 1"):
        list(groups)
    with pytest.raises(ActorError, match="RolloutActor died"):
        setup.send()
