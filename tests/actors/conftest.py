"""Models and engines that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rlsys.playground.models import build

if TYPE_CHECKING:
    from support.engine_setup import Setup
    from support.train_engine import Crew


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("0.5m", tmp_path_factory.mktemp("model") / "m")


@pytest.fixture(scope="session")
def untied_path(model_path: Path) -> Path:
    """Beside the other one: the same model with an output head of its own, twice the embedding."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    path = model_path.with_name("untied")
    weights = AutoModelForCausalLM.from_pretrained(model_path).state_dict()
    untied = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model_path, tie_word_embeddings=False))
    untied.load_state_dict({**weights, "lm_head.weight": 2 * weights["lm_head.weight"]})
    untied.save_pretrained(path)
    AutoTokenizer.from_pretrained(model_path).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def one(ray_session: None, model_path: Path, untied_path: Path) -> Iterator[Crew]:
    """A training engine of one rank."""
    from support.train_engine import crew

    with crew(1, model_path) as made:
        yield made


@pytest.fixture(scope="module")
def two(ray_session: None, model_path: Path, untied_path: Path) -> Iterator[Crew]:
    """A training engine of two ranks."""
    from support.train_engine import crew

    with crew(2, model_path) as made:
        yield made


@pytest.fixture(scope="session")
def setup(ray_session: None, model_path: Path) -> Iterator[Setup]:
    import ray
    from support.engine_setup import Setup, open_sync, start_engines, start_trainer

    trainer, rollout = start_trainer(model_path), start_engines(model_path, 2)
    setup = Setup(trainer, rollout, open_sync(trainer, rollout))
    setup.send()
    yield setup
    for actor in [*rollout.actors, *trainer.actors]:
        ray.kill(actor)
