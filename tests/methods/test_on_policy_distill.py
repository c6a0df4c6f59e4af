from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.fakes import (
    CopySync,
    FunctionReward,
    SoftmaxPolicy,
    SoftmaxRollout,
    SoftmaxTeacher,
    make_roles,
    prompt,
    unanswered,
)

from rlsys.commands.presets import settings_yaml
from rlsys.config.sampling import SamplingConfig
from rlsys.data.stream import Stream
from rlsys.errors import ConfigError, RlsysError
from rlsys.methods.base import Step
from rlsys.methods.on_policy_distill import Config, Method
from rlsys.methods.shared.sampling import UNSCORED
from rlsys.objectives.stats import values
from rlsys.roles import Roles
from rlsys.run.ledger import Ledger
from rlsys.samples import Abstention, Prompt, RewardResult, Score, Trajectory

WANTED = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)


def on_policy(temperature: float = 1.0, **config: Any) -> Method:
    return Method(
        Config.model_validate({"prompts_per_step": 8, "scored": False, **config}),
        SamplingConfig(temperature=temperature),
        pad_id=0,
    )


def student(learning_rate: float = 1.0, top_k: int = 4, **roles: Any) -> Roles:
    return replace(
        make_roles(learning_rate=learning_rate, length=3), teacher=SoftmaxTeacher(WANTED.log().float(), top_k), **roles
    )


def ones(p: Prompt, t: Trajectory) -> RewardResult:
    """How many of the response's tokens are 1."""
    return Score(float(t.token_ids[1:].count(1)))


def train(method: Method, roles: Roles, steps: int) -> dict[str, float]:
    stream, stats = Stream([prompt(f"p{i}") for i in range(8)], 0, shuffle=True), {}
    assert roles.weight_sync is not None
    for number in range(1, steps + 1):
        roles.weight_sync.sync(number)
        step = Step(number, number, 0)
        stats = values(method.learn(roles, method.collect(roles, stream, step), step).stats)
    return stats


@pytest.mark.parametrize(
    "config",
    [{}, {"divergence": "forward_kl"}, {"divergence": "jsd", "beta": 0.9}, {"mini_batches": 2}, {"group_size": 2}],
)
def test_the_student_ends_as_its_teacher_without_any_reward(config: dict[str, Any]):
    roles = student(learning_rate=4.0 if "jsd" in config.values() else 2.0, reward=None)
    stats = train(on_policy(**config), roles, 200)
    assert isinstance(roles.policy, SoftmaxPolicy)
    assert torch.softmax(roles.policy.logits, 0).tolist() == pytest.approx(WANTED.tolist(), abs=2e-3)
    assert stats["reverse_kl"] < 1e-4


def test_both_models_are_compared_at_the_sampling_temperature():
    """At temperature 2 the student, all equal, is still uniform; the teacher's probabilities are in proportion to the
    roots of (1, 2, 3, 4)."""
    roles = student(reward=None)
    stats = train(on_policy(temperature=2.0), roles, 1)
    soft = WANTED.sqrt() / WANTED.sqrt().sum()
    assert stats["reverse_kl"] == pytest.approx(float((0.25 * (0.25 / soft).log()).sum()), abs=1e-6)
    assert stats["nll"] == pytest.approx(1.386294, abs=1e-6)  # ln 4


def test_rewards_only_measure():
    """A run with `scored` ends in the same weights, bit for bit, whatever its rewards say; the samples that got none
    are learned from, too."""
    plain, scored = student(reward=None), student(reward=FunctionReward(ones))
    train(on_policy(), plain, 5)
    train(on_policy(scored=True), scored, 5)
    some = student(reward=FunctionReward(lambda p, t: unanswered(p, t) if t.sample_index == 0 else ones(p, t)))
    doubled = student(reward=None)
    train(on_policy(scored=True, group_size=2), some, 5)
    train(on_policy(group_size=2), doubled, 5)
    for one, other in ((plain, scored), (doubled, some)):
        assert isinstance(one.policy, SoftmaxPolicy)
        assert isinstance(other.policy, SoftmaxPolicy)
        assert one.policy.logits.tolist() == other.policy.logits.tolist()
    assert Config(scored=False).facts.needs == {"policy", "rollout", "teacher"}
    assert Config() == Config(scored=True)
    assert Config(scored=True).facts.needs == {"policy", "rollout", "teacher", "reward"}


def collect(method: Method, roles: Roles) -> Any:
    assert isinstance(roles.weight_sync, CopySync)
    roles.weight_sync.sync(1)
    return method.collect(roles, Stream([prompt(f"p{i}", "1") for i in range(8)], 0, shuffle=True), Step(1, 1, 0))


def test_samples_without_a_score_are_on_record_and_count_as_no_failure(tmp_path: Path):
    method, roles = on_policy(), student(reward=None)
    experience = collect(method, roles)
    assert not any(name.startswith("reward/") for name in experience.metrics)
    assert experience.metrics["rollout/samples"] == 8
    learned = method.learn(roles, experience, Step(1, 1, 0))
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.record(1, experience.groups, learned.advantages, phase="train")
        samples = ledger.samples(1)
    assert len(samples) == 8
    assert {(one.reward, one.abstention, one.advantage, one.used_in_step) for one in samples} == {
        (None, UNSCORED.reason, None, 1)
    }


def test_scores_are_shown():
    experience = collect(on_policy(scored=True), student(reward=FunctionReward(ones)))
    counts = [sample.token_ids[1:].count(1) for group in experience.groups for sample in group.trajectories]
    assert experience.metrics["reward/mean"] == sum(counts) / 8 > 0
    assert experience.metrics["reward/abstained"] == 0
    with pytest.raises(RlsysError, match="none of 8 samples could be scored; most often \\(8\\): judge down"):
        collect(on_policy(scored=True), student(reward=FunctionReward(lambda p, t: Abstention("judge down"))))


def test_what_is_taught_is_what_was_sampled():
    roles = student(reward=None)
    experience = collect(on_policy(group_size=2), roles)
    sampled = [sample.token_ids for group in experience.groups for sample in group.trajectories]
    assert experience.batch.token_ids_BT.tolist() == sampled
    assert experience.batch.loss_mask_BT.tolist() == [[False, True, True, True]] * 16
    assert isinstance(roles.rollout, SoftmaxRollout)
    assert len(roles.rollout.calls) == 1


def test_it_is_no_preset_of_the_policy_gradient():
    with pytest.raises(ConfigError, match="distill is a method of its own, no preset"):
        list(settings_yaml("distill"))
