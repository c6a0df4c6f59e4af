"""The training engine's promises at the edges: gradients that are not finite, bfloat16, what it refuses and never
compiles."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.train_engine import Crew, PoisonLongest, Setting, assert_trained_alike, rows, valued

from rlsys.config.actors import PolicyConfig
from rlsys.errors import ConfigError
from rlsys.models.adapters.lora import Config as Lora
from rlsys.objectives.value_loss import ClippedValueLoss

pytestmark = [pytest.mark.engine, pytest.mark.slow]


def test_a_scalar_head_s_gradient_that_is_not_finite_is_skipped(one: Crew) -> None:
    one.build(Setting(zero=2, heads=1))
    batch = replace(valued(), returns_BT=torch.full_like(valued().returns_BT, float("nan")))
    before = one.all("call", "weight_hash")
    assert one.all("train", batch, 1, ClippedValueLoss())[0]["updates_skipped"] == 1
    assert one.all("call", "weight_hash") == before


@pytest.mark.parametrize(
    "setting", [Setting(zero=0, untied=True), Setting(zero=0, adapter=Lora(rank=4))], ids=["untied", "adapters"]
)
def test_zero_3_trains_other_models_alike(one: Crew, two: Crew, setting: Setting) -> None:
    """Four steps of one rank of ZeRO 0, and of two of ZeRO 3 that recompute activations."""
    norms = []
    for crew, own in ((one, setting), (two, replace(setting, zero=3, checkpointing=True, budget=60))):
        crew.build(own)
        norms.append([crew.all("train", rows(seed))[0]["grad_norm"] for seed in range(4)])
    assert norms[1] == pytest.approx(norms[0], rel=5e-5)
    expected, found = one.all("weights")[0], two.all("weights")[1]
    assert ("lm_head.weight" in expected) == setting.untied
    assert_trained_alike(found, expected)


@pytest.mark.parametrize(
    ("zero", "dtype"),
    [(0, "float32"), (1, "float32"), (2, "float32"), (3, "float32"), (0, "bfloat16"), (1, "bfloat16")],
)
def test_a_gradient_that_is_not_finite_on_one_rank_is_skipped_by_all_and_spoils_nothing(
    two: Crew, zero: int, dtype: str
) -> None:
    """Training goes on as if the step had not been: bit for bit, optimizer and schedule included."""
    hashes = []
    for poisoned in (False, True):
        two.build(Setting(zero=zero, dtype=dtype, schedule="cosine", warmup=2))
        two.all("train", rows(0))
        if poisoned:
            before = two.all("call", "weight_hash")
            batch = rows(1)
            for _ in range(5):
                skipped = two.all("train", batch, 1, PoisonLongest(longest=int(batch.lengths_B.max())), 0.5)
                assert [answer["updates_skipped"] for answer in skipped] == [1.0, 1.0]
                assert two.all("call", "weight_hash") == before
        trained = two.all("train", rows(2))
        assert [answer["updates_skipped"] for answer in trained] == [0.0, 0.0]
        hashes.append((two.all("call", "weight_hash"), trained))
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize("zero", [0, 2, 3])
def test_bfloat16_trains_on_float32_masters(two: Crew, zero: int) -> None:
    """The norms' weights begin at 1, where bfloat16's next lower number is 1 - 2^-8: an update of 1e-4 is seen only if
    it is added up elsewhere."""
    two.build(Setting(zero=zero, dtype="bfloat16", learning_rate=1e-4))
    batch = rows(0)
    for _ in range(2):
        two.all("train", batch)
    assert bool((two.all("weights")[0]["model.norm.weight"] == 1).all())
    for _ in range(50):
        two.all("train", batch)
    moved = two.all("weights")[0]["model.norm.weight"] != 1
    assert moved.float().mean() > 0.2


def test_nothing_is_compiled_at_start(two: Crew) -> None:
    two.build(Setting())
    assert two.all("loaded_extensions") == [[], []]


def test_offloading_without_a_gpu_is_refused(one: Crew) -> None:
    from actors.engines.deepspeed_setup import check

    with pytest.raises(ConfigError, match=r"policy\.offload_optimizer: there is no GPU"):
        check(PolicyConfig(offload_optimizer=True), has_gpu=False)
    with pytest.raises(ConfigError, match="zero_stage of at least 3, not 2"):
        check(PolicyConfig(offload_parameters=True, zero_stage=2), has_gpu=True)
