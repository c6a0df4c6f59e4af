"""What is sampled and trained on: the same for both sides of every comparison."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from actors.engines.spec import EngineSpec
from actors.rollout import environment
from benchmarks.child import child
from rlsys.batch import Batch, pad
from rlsys.check.load import load
from rlsys.config.experiment import Experiment
from rlsys.config.sampling import Sampling
from rlsys.models.load import local_path
from rlsys.roles import Roles, Spawn, SpawnRequest
from rlsys.samples import Prompt

EXPERIMENT = Path(__file__).parent / "experiment.yaml"
ON_GPU = torch.cuda.is_available()
PAD_ID = 256
"""The padding token of the playground's models comes right after their bytes."""
VOCABULARY = 256
"""Ids below it are plain bytes in the playground's tokenizer."""


@dataclass(frozen=True, slots=True)
class Load:
    """How much of each size fits into some seconds on one CPU core."""

    prompts: int
    samples: int
    """Per prompt."""
    max_tokens: int
    rows: int
    """Of a training batch."""


LOADS = {
    "0.5m": Load(prompts=48, samples=8, max_tokens=64, rows=256),
    "25m": Load(prompts=12, samples=8, max_tokens=32, rows=32),
}
QUICK = Load(prompts=2, samples=2, max_tokens=4, rows=8)
PROMPT_TOKENS = 24
ROW_TOKENS = (32, 96)
"""Shortest and longest row of a training batch."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a benchmark is told."""

    size: str
    repeats: int
    folder: Path
    """For models, logs and runs."""
    quick: bool = False
    """Whether to measure next to nothing, only to show that it works."""

    @property
    def load(self) -> Load:
        return QUICK if self.quick else LOADS[self.size]

    @property
    def model(self) -> Path:
        return local_path(f"playground:{self.size}", self.folder / "playground")

    def log(self, name: str) -> Path:
        return self.folder / f"{name}-{self.size}.log"


def experiment(settings: Settings, *overrides: str) -> Experiment:
    own = [f"model.path=playground:{settings.size}", f"output={settings.folder}", *overrides]
    return load(EXPERIMENT, own, by="benchmarks.workload")


@contextmanager
def started(settings: Settings, spawn: Spawn, *overrides: str) -> Iterator[Roles]:
    """Policy and sampler as a run has them, under Ray; with proven weights of version 0."""
    needs = frozenset({"policy", "rollout"})
    request = SpawnRequest(needs, settings.model, optimizer_steps=1000, pad_id=PAD_ID)
    with spawn(experiment(settings, *overrides), request) as roles:
        assert roles.weight_sync is not None
        roles.weight_sync.sync(0)
        yield roles


def engine_spec(settings: Settings) -> EngineSpec:
    """The sampler of `started`, to be made without a run."""
    config = experiment(settings)
    longest = config.data.max_prompt_tokens + config.sampling.max_tokens
    return EngineSpec(
        str(settings.model), config.model.dtype, longest, config.seed, config.rollout, on_gpu=ON_GPU, sleeps=ON_GPU
    )


@cache
def engine_arguments(settings: Settings, sampling: Sampling) -> dict[str, Any]:
    """What our sampler tells vLLM: `engine` for the engine, `sampling` for each request. Asked once per process: the
    answer takes seconds."""
    variables = environment(experiment(settings).rollout, ON_GPU)
    with child("benchmarks.engine_arguments", variables, settings.log("engine_arguments")) as process:
        spec = asdict(engine_spec(settings))
        return process.ask(spec=spec | {"config": spec["config"].model_dump()}, sampling=asdict(sampling))


def prompts(settings: Settings) -> list[Prompt]:
    draw = random.Random(0)
    ids = [tuple(draw.randrange(VOCABULARY) for _ in range(PROMPT_TOKENS)) for _ in range(settings.load.prompts)]
    return [Prompt(str(number), "", own) for number, own in enumerate(ids)]


def sampling(settings: Settings) -> Sampling:
    return Sampling(1.0, 1.0, 0, settings.load.max_tokens, settings.load.samples)


def training_batch(settings: Settings) -> Batch:
    """Random tokens in rows of unequal length, all trained on but the first."""
    draw = random.Random(1)
    rows = [[draw.randrange(VOCABULARY) for _ in range(draw.randint(*ROW_TOKENS))] for _ in range(settings.load.rows)]
    masks = [[0] + [1] * (len(row) - 1) for row in rows]
    return Batch(pad(rows, 0, torch.long), pad(masks, 0, torch.bool), torch.tensor([len(row) for row in rows]))
