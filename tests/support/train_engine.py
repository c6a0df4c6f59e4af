"""Training engines in processes of their own, and batches for them: for tests of gradients, states and exports."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from ray import cloudpickle
from torch import Tensor

from actors.wait import fetch
from rlsys.batch import Batch, ComparisonBatch, DistillationBatch, PreferenceBatch, ValueBatch
from rlsys.config.actors import ModelConfig, PolicyConfig
from rlsys.config.ewc import EwcConfig
from rlsys.models.adapters.base import AdapterConfig
from rlsys.models.micro_batches import micro_batches
from rlsys.objectives.likelihood_loss import CrossEntropyLoss
from rlsys.objectives.outputs import Outputs
from rlsys.objectives.stats import Stats

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers can't import this file

TIMEOUT = 120.0
STEPS = 20
"""Of the learning-rate schedules."""
SEED = 7


def rows(seed: int, count: int = 11) -> Batch:
    """Random rows of 5 to 40 tokens, trained on from the fourth on."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(5, 41, (count,), generator=generator)
    places = torch.arange(int(lengths.max()))
    token_ids = torch.randint(0, 256, (count, len(places)), generator=generator)
    return Batch(token_ids, (places >= 3) & (places < lengths[:, None]), lengths)


def cross_entropy(network: Any, batch: Batch) -> Tensor:
    """The mean over trained tokens, by plain transformers, one unpadded row after the other."""
    total = torch.zeros(())
    for i, length in enumerate(batch.lengths_B.tolist()):
        tokens = batch.token_ids_BT[i, :length]
        scores = network(tokens[None]).logits[0, :-1].log_softmax(-1).gather(1, tokens[1:, None])[:, 0]
        total = total - scores[batch.loss_mask_BT[i, 1:length]].sum()
    return total / batch.loss_mask_BT.sum()


def rankings() -> ComparisonBatch:
    """Rankings of two, three, two and four of the rows, with a tie among the four; labels of two of them are soft."""
    batch = rows(0)
    units = torch.tensor([3, 0, 1, 3, 1, 2, 3, 0, 2, 3, 1])
    grades = torch.tensor([1.0, 2.0, 0.5, 3.0, 2.5, 1.0, 1.0, 0.0, 4.0, -1.0, 1.5])
    preferences = torch.tensor([1.0, 1.0, 0.75, 0.5])[units]
    return ComparisonBatch(
        batch.token_ids_BT, batch.loss_mask_BT, batch.lengths_B, units, grades, preferences, 1000 + units
    )


def preferred() -> PreferenceBatch:
    """The rankings, with a reference that found every token equally likely."""
    batch = rankings()
    return PreferenceBatch(**vars(batch), reference_log_probs_B=-math.log(262) * batch.loss_mask_BT.sum(1))


def valued() -> ValueBatch:
    """Old values and returns around those of a new head, so that some are clipped."""
    batch = rows(0)
    old, returns = (
        2 * torch.randn(batch.token_ids_BT.shape, generator=torch.Generator().manual_seed(s)) for s in (1, 2)
    )
    return ValueBatch(
        batch.token_ids_BT, batch.loss_mask_BT, batch.lengths_B, old * batch.loss_mask_BT, returns * batch.loss_mask_BT
    )


def taught() -> DistillationBatch:
    """A teacher that names five tokens at each place, at random, and leaves a share to the others."""
    batch, generator = rows(0), torch.Generator().manual_seed(3)
    choices = torch.rand(*batch.token_ids_BT.shape, 262, generator=generator).argsort(-1)[..., :5]
    log_probs = torch.randn(*batch.token_ids_BT.shape, 6, generator=generator).log_softmax(-1)
    mask = batch.loss_mask_BT[..., None]
    return DistillationBatch(batch.token_ids_BT, batch.loss_mask_BT, batch.lengths_B, choices * mask, log_probs * mask)


@dataclass(frozen=True)
class PoisonLongest(CrossEntropyLoss):
    """Makes the gradient of the longest row, and so of one rank, one that is no number."""

    longest: int = 0

    def __call__(self, outputs: Outputs, batch: Any) -> tuple[Tensor, Stats]:
        loss, stats = super().__call__(outputs, batch)
        return loss * (float("nan") if int(batch.lengths_B.max()) == self.longest else 1.0), stats


@dataclass(frozen=True)
class Setting:
    """Of one engine."""

    zero: int = 2
    packing: str = "padded"
    budget: int = 120
    dtype: str = "float32"
    checkpointing: bool = False
    adapter: AdapterConfig | None = None
    schedule: str = "constant"
    warmup: int = 0
    learning_rate: float = 1e-3
    optimizer: str = "adamw"
    untied: bool = False
    """A model whose output head is not its embedding."""
    spread: bool = False
    """ZeRO 3 spreads even the smallest parameters over the ranks, as it does large ones."""
    heads: int | None = None
    """Of a scalar head."""
    ewc: EwcConfig | None = None

    def model_config(self) -> ModelConfig:
        return ModelConfig.model_validate(
            {
                "path": "unused",
                "dtype": self.dtype,
                "gradient_checkpointing": self.checkpointing,
                "adapter": self.adapter,
            }
        )

    def config(self, ranks: int) -> PolicyConfig:
        return PolicyConfig.model_validate(
            {
                "ranks": ranks,
                "zero_stage": self.zero,
                "packing": self.packing,
                "tokens_per_micro_batch": self.budget,
                "learning_rate": self.learning_rate,
                "optimizer": self.optimizer,
                "schedule": self.schedule,
                "warmup_steps": self.warmup,
                "weight_decay": 0.1,
            }
        )


class Rank:
    """A process that builds one engine after the other, which is much faster than a process for each."""

    def __init__(self, rank: int, size: int, model: Path) -> None:
        self.rank, self.size, self.model = rank, size, model

    def open(self) -> str:
        from actors.engines.deepspeed_setup import open_store

        self.store = open_store("127.0.0.1", self.size, TIMEOUT)
        return f"127.0.0.1:{self.store.port}"

    def build(self, setting: Setting, address: str) -> None:
        from actors.engines import deepspeed_engine, deepspeed_setup
        from actors.engines.deepspeed_engine import TrainEngine
        from actors.engines.deepspeed_setup import World

        def settings(*arguments: Any) -> dict[str, Any]:
            found = deepspeed_setup.deepspeed_config(*arguments)
            if setting.spread:
                found["zero_optimization"]["stage3_param_persistence_threshold"] = 0
            return found

        deepspeed_engine.deepspeed_config = settings

        self.setting = setting
        world = World(self.rank, self.size, address, TIMEOUT)
        path = self.model.with_name("untied") if setting.untied else self.model
        self.engine = TrainEngine(
            setting.model_config(), setting.config(self.size), path, STEPS, SEED, world, setting.heads, setting.ewc
        )

    def accumulate(self, batch: Batch, loss: Any, normalizer: float) -> int:
        own = micro_batches(
            batch.lengths_B.tolist(), self.size, self.setting.budget, self.engine.packed, batch.units()
        )[self.rank]
        self.engine.forward_backward(batch, own, loss, normalizer)
        return sum(not rows for rows in own)

    def train(self, batch: Batch, parts: int = 1, loss: Any = None, scale: float = 1.0) -> dict[str, float]:
        """One optimizer step on the mean over the whole batch (of trained tokens, by default), accumulated in `parts`
        calls."""
        loss = loss or CrossEntropyLoss()
        normalizer, units = loss.normalizer(batch), batch.units()
        shares = [
            [row for unit in part for row in units[unit]] for part in torch.arange(len(units)).tensor_split(parts)
        ]
        idle = sum(self.accumulate(batch.rows(share), loss, normalizer) for share in shares)
        stats = self.engine.optimizer_step(scale)
        return {name: stat.value for name, stat in stats.items()} | {"idle": idle}

    def gradients(self) -> dict[str, Tensor]:
        """The clipped gradients of the first step: what Adam's first moment is then, over 1 - beta1."""
        from deepspeed.utils import safe_get_full_optimizer_state

        optimizer = self.engine.engine.optimizer
        if self.setting.zero in (1, 2):
            # DeepSpeed links the states of all groups after the first group's step, when the second has none yet.
            optimizer._hp_optimizer_states_linked = False
            optimizer._lazy_init_hp_params_optimizer_state()
        found = {}
        for name, parameter in self.engine.scorer.model.named_parameters():
            if self.setting.zero == 0:
                moment = optimizer.state[parameter]["exp_avg"]
            else:
                moment = safe_get_full_optimizer_state(parameter, "exp_avg")
                assert moment is not None
            found[name] = moment / (1 - 0.9)
        return found

    def call(self, method: str, *arguments: Any) -> Any:
        return getattr(self.engine, method)(*arguments)

    def log_probs(self, batch: Batch) -> Tensor:
        return self.engine.log_probs(batch, [[row] for row in range(len(batch))], 1.0)

    def base_log_probs(self, batch: Batch) -> Tensor:
        with self.engine.adapter.disabled():
            return self.log_probs(batch)

    def scores(self, batch: Batch) -> Tensor | None:
        return self.engine.scores(batch, [[row] for row in range(len(batch))])

    def weights(self) -> dict[str, Tensor]:
        weights = {name: tensor.clone() for name, tensor in self.engine.named_weights()}
        assert [(name, t.dtype, tuple(t.shape)) for name, t in weights.items()] == self.engine.weight_metadata()
        return weights

    def held(self) -> tuple[int, int]:
        """Bytes of the weights, and of what the optimizer keeps: its states, and copies of the weights that it
        updates."""
        engine, sizes = self.engine.engine, [p.nbytes for p in self.engine.scorer.parameters()]
        inner = engine.optimizer if self.setting.zero == 0 else engine.optimizer.optimizer
        states = [t.nbytes for state in inner.state.values() for t in state.values() if isinstance(t, Tensor)]
        copies = [p.nbytes for group in inner.param_groups for p in group["params"]] if self.setting.zero else []
        return sum(sizes), sum(states) + sum(copies)

    def rates(self) -> list[float]:
        """The next step's learning rates, of each group of parameters."""
        return [group["lr"] for group in self.engine.engine.optimizer.param_groups]

    def loaded_extensions(self) -> list[str]:
        """Libraries that torch compiled for DeepSpeed in this process."""
        return [line for line in Path("/proc/self/maps").read_text().splitlines() if "torch_extensions" in line]


@dataclass
class Crew:
    """All ranks of an engine."""

    actors: list[Any]

    def __post_init__(self) -> None:
        self.address = fetch(self.actors[0].open.remote(), "a store", TIMEOUT)

    def all(self, method: str, *arguments: Any) -> list[Any]:
        return fetch([getattr(actor, method).remote(*arguments) for actor in self.actors], method, TIMEOUT)

    def build(self, setting: Setting) -> None:
        self.all("build", setting, self.address)


@contextmanager
def crew(size: int, model: Path) -> Iterator[Crew]:
    remote: Any = ray.remote(Rank).options(num_cpus=1, runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}})
    made = Crew([remote.remote(rank, size, model) for rank in range(size)])
    yield made
    for actor in made.actors:
        ray.kill(actor)


def assert_trained_alike(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Within rounding. Adam makes of a gradient near 0 and its rounding steps of up to the learning rate, 1e-3: that
    must stay a rare exception."""
    for name, weight in expected.items():
        gap = (found[name] - weight.detach()).abs()
        assert float(gap.max()) < 5e-4, name
        assert float((gap > 1e-5).float().mean()) < 2e-3, name
