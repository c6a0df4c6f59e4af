"""Each way of merging on numbers worked out by hand, and against peft's own functions."""

from __future__ import annotations

import importlib
import math
import re
from typing import Any

import peft.utils.merge_utils as by_peft
import pytest
import torch
from torch import Tensor

from rlsys import registry
from rlsys.merging.base import PACKAGE, Part
from rlsys.merging.greedy_soup import Tried, ingredients
from rlsys.methods.merge import Config

BASE = [1.0, 1.0, 1.0, 1.0]


def merged(way: str, base: Any, *parts: Part, **settings: Any) -> Tensor:
    module = importlib.import_module(f"{PACKAGE}.{way}")
    return module.merge(module.Config(**settings), torch.as_tensor(base), parts)


def part(values: Any, weight: float = 1.0, density: float = 1.0, seed: int = 0) -> Part:
    return Part(torch.as_tensor(values), weight, density, seed)


@pytest.mark.parametrize(
    ("way", "settings", "parts", "wanted"),
    [
        ("linear", {}, [([4.0, 0.0], 3.0), ([0.0, 8.0], 1.0)], [3.0, 2.0]),
        ("linear", {"normalize": False}, [([4.0, 0.0], 0.5), ([0.0, 8.0], 0.25)], [2.0, 2.0]),
        ("soup", {}, [([3.0, 0.0], 1.0), ([0.0, 6.0], 1.0), ([0.0, 3.0], 1.0)], [1.0, 3.0]),
        # Task vectors [2, 0] and [0, 4]; the second is taken away by half.
        ("task_arithmetic", {"scale": 2.0}, [([3.0, 1.0], 1.0), ([1.0, 5.0], -0.5)], [5.0, -3.0]),
    ],
)
def test_weighted_sums(way: str, settings: dict[str, Any], parts: list[tuple[list[float], float]], wanted: list[float]):
    assert merged(way, [1.0, 1.0], *(part(*one) for one in parts), **settings).tolist() == wanted


def test_ties_trims_elects_and_takes_the_disjoint_mean():
    """Task vectors after trimming to the two largest: [4, 0, 3, 0], [-3, 0, -5, 0], [0, 2, 6, 0]. Their sums are 1, 2,
    4 and 0, so + is elected. The mean of those that are above 0: 4, 2, (3 + 6) / 2, nothing."""
    vectors = [[4.0, -1.0, 3.0, 0.5], [-3.0, 0.5, -5.0, 0.2], [0.1, 2.0, 6.0, -1.0]]
    parts = [part(torch.tensor(BASE) + torch.tensor(vector), density=0.5) for vector in vectors]
    assert merged("ties", BASE, *parts, density=0.5).tolist() == pytest.approx([5.0, 3.0, 5.5, 1.0])
    assert merged("ties", BASE, *parts, density=0.5, scale=0.5).tolist() == pytest.approx([3.0, 2.0, 3.25, 1.0])


def test_weights_of_ties_come_before_the_vote():
    """6 against -8 elects -; with a weight of a quarter it is 6 against -2, and + wins. A model of weight 0 is not
    counted."""
    assert merged("ties", [0.0], part([6.0]), part([-8.0])).tolist() == [-8.0]
    assert merged("ties", [0.0], part([6.0]), part([-8.0], weight=0.25)).tolist() == [6.0]
    assert merged("ties", [0.0], part([6.0]), part([2.0], weight=0.0)).tolist() == [6.0]
    assert merged("ties", [0.0], part([6.0], weight=-1.0)).tolist() == [-6.0]


def test_dare_drops_and_rescales():
    """Kept entries of a task vector of 2 are 2 / 0.25 = 8; their share is 0.25 within four standard errors, so the mean
    stays."""
    size = 40_000
    found = merged("dare_linear", torch.ones(size), part(torch.full((size,), 3.0), density=0.25, seed=7))
    kept = found != 1.0
    assert set(found[kept].tolist()) == {9.0}
    assert abs(float(kept.float().mean()) - 0.25) < 4 * math.sqrt(0.25 * 0.75 / size)
    # With both signs at one place, DARE with TIES never mixes them.
    both = [part(torch.full((size,), value), density=0.5, seed=seed) for seed, value in enumerate((3.0, -2.0))]
    assert set(merged("dare_ties", torch.zeros(size), *both).unique().tolist()) == {-4.0, 0.0, 6.0}
    assert set(merged("dare_linear", torch.zeros(size), *both).unique().tolist()) == {-4.0, 0.0, 2.0, 6.0}


def test_dare_depends_on_its_seed_alone():
    vector = torch.randn(200)
    before = torch.random.get_rng_state()
    first = merged("dare_linear", torch.zeros(200), part(vector, density=0.5, seed=1))
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(3)
    assert torch.equal(merged("dare_linear", torch.zeros(200), part(vector, density=0.5, seed=1)), first)
    assert not torch.equal(merged("dare_linear", torch.zeros(200), part(vector, density=0.5, seed=2)), first)


def test_slerp_goes_on_the_arc():
    """A third of a right angle is 30 degrees; the chord would be shorter than the radius."""
    right = part([2.0, 0.0], 2.0), part([0.0, 2.0], 1.0)
    assert merged("slerp", [0.0, 0.0], *right).tolist() == pytest.approx([2 * math.cos(math.pi / 6), 1.0])
    # At 120 degrees, halfway: the bisector.
    wide = part([1.0, 0.0]), part([-0.5, math.sqrt(3) / 2])
    assert merged("slerp", [0.0, 0.0], *wide).tolist() == pytest.approx([0.5, math.sqrt(3) / 2])


@pytest.mark.parametrize("other", [[4.0, 0.01], [-1.0, 0.0], [0.0, 0.0]])
def test_slerp_takes_the_chord_where_there_is_no_arc(other: list[float]):
    """Nearly parallel, opposite, and no vector at all."""
    wanted = [0.75 * 2 + 0.25 * other[0], 0.25 * other[1]]
    assert merged("slerp", [0.0, 0.0], part([2.0, 0.0], 3.0), part(other, 1.0)).tolist() == pytest.approx(wanted)


def test_as_peft_does_it():
    """Peft votes before it weighs, so its TIES is ours where weights are equal; it draws from the global generator, so
    its DARE is ours on one task vector."""
    torch.manual_seed(3)
    base, *vectors = torch.randn(4, 6, 50)
    weights = torch.tensor([0.7, -0.3, 1.2])
    ours = [part(base + vector, float(weight)) for vector, weight in zip(vectors, weights, strict=True)]
    assert torch.allclose(
        merged("task_arithmetic", base, *ours), base + by_peft.task_arithmetic(vectors, weights), atol=1e-6
    )
    trimmed = [part(base + vector, 0.6, density=0.3) for vector in vectors]
    theirs = by_peft.ties(vectors, torch.full((3,), 0.6), 0.3)
    assert torch.allclose(merged("ties", base, *trimmed, density=0.3), base + theirs, atol=1e-6)
    for way in ("dare_linear", "dare_ties"):
        torch.manual_seed(11)
        theirs = getattr(by_peft, way)(vectors[:1], torch.tensor([0.5]), 0.4)
        dropped = part(base + vectors[0], 0.5, density=0.4, seed=11)
        assert torch.allclose(merged(way, base, dropped, density=0.4), base + theirs, atol=1e-5), way


def test_a_greedy_soup():
    """The best alone is 1; 2 joins because the mean is no worse; 0 would make it worse."""
    scores = {(0,): 0.5, (1,): 0.8, (2,): 0.7, (1, 2): 0.8, (1, 2, 0): 0.79}
    asked = []

    def measure(models: tuple[int, ...]) -> float:
        asked.append(models)
        return scores[models]

    chosen, tried = ingredients(3, measure)
    assert chosen == (1, 2)
    assert asked == [(0,), (1,), (2,), (1, 2), (1, 2, 0)]
    assert tried == [Tried(models, scores[models], models in ((1,), (1, 2))) for models in asked]


def config(by: Any, *models: dict[str, Any]) -> Config:
    return Config.model_validate({"by": by, "models": [{"path": "m", **one} for one in models or ({}, {})]})


@pytest.mark.parametrize(
    ("by", "models", "says"),
    [
        ("tie", [{}], "'tie' is not a file of rlsys.merging that defines merge; did you mean ties?"),
        ({"name": "ties", "densty": 1}, [{}], "by.densty: unknown key; did you mean density?"),
        ({"name": "ties", "density": 0}, [{}], "by.density: wanted a number above 0 and of at most 1, got 0"),
        (3, [{}], "wanted the name of a file in rlsys.merging (dare_linear, dare_ties, greedy_soup, linear, slerp, "),
        ("linear", [{"density": 0.5}], "models.0.density: has no effect: linear trims nothing"),
        (
            "ties",
            [{}, {"layers": [{"match": "mlp"}]}],
            "models.1.layers.0: says nothing; give it a weight or a density",
        ),
        ("ties", [{"layers": [{"match": "(", "weight": 1}]}], "'(' is no regular expression"),
        ("linear", [{"weight": 1}, {"weight": -1}], "models: the weights add up to 0"),
        ("slerp", [{}], "models: slerp goes from one model to another, so it takes 2, and there are 1"),
        ("slerp", [{"weight": -1}, {}], "models: the weights of slerp are shares"),
        ("soup", [{"weight": 2}, {}], "models: a soup weighs its models alike"),
        ("greedy_soup", [{"weight": 2}, {}], "models: a soup weighs its models alike"),
    ],
)
def test_what_can_not_be_meant(by: Any, models: list[dict[str, Any]], says: str):
    with pytest.raises(ValueError, match=re.escape(says)):
        config(by, *models)


def test_only_a_greedy_soup_samples():
    needs = {name: config(name).facts.needs for name in registry.names(PACKAGE, "merge")}
    assert {name for name, roles in needs.items() if roles} == {"greedy_soup"}
    assert needs["greedy_soup"] == {"rollout", "reward"}
