"""One run with as many settings away from their defaults as go together: adapters, ZeRO-3, two engines, KL, packed
rows, mini-batches."""

from __future__ import annotations

import json

import pytest
import torch
from support.command_line import Run, Workplace
from transformers import AutoModelForCausalLM

from rlsys.playground.models import build
from rlsys.samples import UNSAMPLED

pytestmark = [pytest.mark.engine, pytest.mark.slow]

STEPS = 3
SETTINGS = (
    "method={name: grpo, prompts_per_step: 6, group_size: 4, mini_batches: 2, epochs: 2, kl_coef: 0.05,"
    " importance_sampling: sequence,"
    " clip_high: 0.28, dual_clip: 3.0, reduction: token_mean, entropy_coef: 0.01, overlong_share: 0.25, equal_groups: "
    "resample}",
    "model.adapter={kind: lora, rank: 4, alpha: 16, dropout: 0.1}",
    "model.gradient_checkpointing=true",
    "rewards=[{name: format, args: {regex: '[a-m]'}}]",
    "policy={ranks: 2, zero_stage: 3, learning_rate: 1.0e-2, packing: packed, tokens_per_micro_batch: 64}",
    "rollout={engines: 2, queue_groups: 2}",
    "reference={share: never, tokens_per_micro_batch: 64}",
    "data.max_prompt_tokens=24",
    "weight_sync={bucket_mib: 1, probe_tolerance: 1.0e-5}",
    f"loop.steps={STEPS}",
    "evaluation={prompts: 6, greedy: false}",
)


@pytest.fixture(scope="module")
def run(workplace: Workplace) -> Run:
    return workplace.train(workplace.stage("quickstart.yaml", "grpo"), "many", SETTINGS)


def test_adapters_train_and_reach_both_samplers(run: Run):
    for step, record in enumerate(run.metrics[1:], start=1):
        assert record["train/grad_norm"] > 0
        assert record["sync/version"] == step
        assert record["sync/probe_gap"] <= 1e-5
    kl = [record["train/kl"] for record in run.metrics[1:]]
    assert kl == sorted(kl), "the policy moves away from the reference, and is sampled where it is"
    for step in range(1, STEPS + 1):
        versions = {version for sample in run.samples(step, "train") for version in sample.policy_versions}
        assert versions == {UNSAMPLED, step - 1}


def test_trainer_and_samplers_agree_on_every_sampled_token(run: Run):
    """Merged adapters against separate ones, a batch at a time against packed rows: float32's rounding apart, the
    same."""
    for record in run.metrics[1:]:
        assert 0 < record["train/sampler_mismatch_max"] < 1e-4


def test_the_final_model_is_a_plain_one_with_the_adapters_in_it(run: Run, tmp_path_factory: pytest.TempPathFactory):
    names = {path.name for path in run.folder.final.iterdir()}
    assert "adapter_config.json" not in names
    assert json.loads((run.folder.final / "config.json").read_text())["architectures"]
    trained = AutoModelForCausalLM.from_pretrained(run.folder.final).state_dict()
    start = AutoModelForCausalLM.from_pretrained(build("0.5m", tmp_path_factory.mktemp("start"))).state_dict()
    assert trained.keys() == start.keys()
    changed = {name for name in start if not torch.equal(trained[name], start[name])}
    assert changed == {name for name in start if "_proj." in name}
