"""The choice of optimizer, and steps at a multiple of the schedule's learning rate, against plain PyTorch at every ZeRO stage."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from ray import cloudpickle
from transformers import AutoModelForCausalLM

from actors.wait import fetch
from rlsys.batch import Batch
from rlsys.config.actors import ModelConfig, PolicyConfig
from rlsys.micro_batches import plan
from rlsys.objectives.likelihood_loss import CrossEntropyLoss

pytestmark = pytest.mark.engine

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers can't import this file

TIMEOUT, RANKS, BUDGET = 60.0, 2, 120
PEAK, STEPS = 1e-3, 20
SCALES = (1.0, 0.25, 2.0)
"""Of the three steps; the linear schedule makes of the peak 1, 19/20 and 18/20."""
RATES = [PEAK * scale * (1 - step / STEPS) for step, scale in enumerate(SCALES)]


def rows(seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    token_ids = torch.randint(0, 256, (7, 24), generator=generator)
    lengths = torch.randint(6, 25, (7,), generator=generator)
    places = torch.arange(24)
    return Batch(token_ids, (places >= 3) & (places < lengths[:, None]), lengths).rows(torch.arange(7))


class Rank:
    def __init__(self, rank: int, model: Path) -> None:
        self.rank, self.model = rank, model

    def open(self) -> str:
        from actors.engines.deepspeed_setup import open_store

        self.store = open_store("127.0.0.1", RANKS, TIMEOUT)
        return f"127.0.0.1:{self.store.port}"

    def build(self, optimizer: str, zero: int, address: str) -> None:
        from actors.engines.deepspeed_engine import TrainEngine
        from actors.engines.deepspeed_setup import World

        settings: dict[str, Any] = {"learning_rate": PEAK, "schedule": "linear", "weight_decay": 0.1, "tokens_per_micro_batch": BUDGET}
        config = PolicyConfig.model_validate({"ranks": RANKS, "zero_stage": zero, "optimizer": optimizer, "packing": "padded", **settings})
        model = ModelConfig(path="unused", dtype="float32")
        self.engine = TrainEngine(model, config, self.model, STEPS, 7, World(self.rank, RANKS, address, TIMEOUT))

    def train(self, step: int) -> float:
        """Returns the learning rate that was used."""
        batch, loss = rows(step), CrossEntropyLoss()
        own = plan(batch.lengths_B.tolist(), RANKS, BUDGET, self.engine.packed, batch.units())[self.rank]
        self.engine.forward_backward(batch, own, loss, loss.normalizer(batch))
        return self.engine.optimizer_step(SCALES[step])["learning_rate"].value

    def call(self, method: str, *arguments: Any) -> Any:
        return getattr(self.engine, method)(*arguments)

    def weights(self) -> dict[str, torch.Tensor]:
        return {name: tensor.clone() for name, tensor in self.engine.named_weights()}


class Crew:
    def __init__(self, model: Path) -> None:
        remote: Any = ray.remote(Rank).options(num_cpus=1, runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}})
        self.actors = [remote.remote(rank, model) for rank in range(RANKS)]
        self.address = fetch(self.actors[0].open.remote(), "a store", TIMEOUT)

    def all(self, method: str, *arguments: Any) -> list[Any]:
        return fetch([getattr(actor, method).remote(*arguments) for actor in self.actors], method, TIMEOUT)


@pytest.fixture(scope="module")
def crew(ray_session: None, model_path: Path) -> Iterator[Crew]:
    made = Crew(model_path)
    yield made
    for actor in made.actors:
        ray.kill(actor)


def plain(model: Path, optimizer: str) -> dict[str, torch.Tensor]:
    """The weights after three steps at the rates that are wanted, each set by hand."""
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    matrices, others = ([p for p in network.parameters() if (p.dim() > 1) == wanted] for wanted in (True, False))
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    own = torch.optim.RMSprop(groups) if optimizer == "rmsprop" else torch.optim.AdamW(groups, betas=(0.9, 0.95))
    for step, rate in enumerate(RATES):
        batch = rows(step)
        total = torch.zeros(())
        for i, length in enumerate(batch.lengths_B.tolist()):
            tokens = batch.token_ids_BT[i, :length]
            scores = network(tokens[None]).logits[0, :-1].log_softmax(-1).gather(1, tokens[1:, None])[:, 0]
            total = total - scores[batch.loss_mask_BT[i, 1:length]].sum()
        (total / batch.loss_mask_BT.sum()).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for group in own.param_groups:
            group["lr"] = rate
        own.step()
        own.zero_grad()
    return {name: parameter.detach() for name, parameter in network.named_parameters()}


@pytest.mark.parametrize(
    ("optimizer", "zero"), [("rmsprop", 0), ("rmsprop", 1), ("rmsprop", 2), ("rmsprop", 3), ("adamw", 0), ("adamw", 2)]
)
def test_three_steps_are_those_of_torch_and_go_on_exactly_from_a_checkpoint(
    crew: Crew, model_path: Path, tmp_path: Path, optimizer: str, zero: int
) -> None:
    crew.all("build", optimizer, zero, crew.address)
    used = [crew.all("train", step)[0] for step in range(2)]
    crew.all("call", "save_state", tmp_path / "state")
    used.append(crew.all("train", 2)[0])
    assert used == pytest.approx(RATES, rel=1e-9)
    straight, found = crew.all("call", "weight_hash")[0], crew.all("weights")[0]

    # A gradient near 0 and its rounding make steps of about the learning rate, or with RMSProp ten times that: that must stay a rare exception.
    gaps = torch.cat([(found[name] - weight).abs().flatten() for name, weight in plain(model_path, optimizer).items()])
    assert float((gaps > 1e-5).float().mean()) < 2e-3
    assert float(gaps.max()) < 2e-2

    crew.all("build", optimizer, zero, crew.address)
    crew.all("call", "load_state", tmp_path / "state")
    assert crew.all("train", 2)[0] == pytest.approx(RATES[2], rel=1e-9)
    assert crew.all("call", "weight_hash")[0] == straight
