"""The whole step on fakes: what each role is asked, what is trained on what, and that every preset learns."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from support.fakes import ConstantCritic, FrozenSoftmax, SoftmaxPolicy, make_roles, prompt, trajectory

from rlsys import registry
from rlsys.commands.presets import presets
from rlsys.config.sampling import SamplingConfig
from rlsys.data.load import Demonstration
from rlsys.data.mixture import WithPretraining
from rlsys.data.stream import Stream
from rlsys.errors import ConfigError
from rlsys.methods.base import Learned, Step
from rlsys.methods.policy_gradient.method import PolicyGradient, Samples
from rlsys.objectives.stats import values
from rlsys.roles import Roles
from rlsys.samples import Abstention, Score, ScoredGroup

STEP = Step(number=1, version=0, seed=0)
UNIFORM = math.log(0.25)
PRESETS = list(presets())


def preset_method(preset: str, **settings: object) -> PolicyGradient:
    config = registry.resolve("rlsys.methods", preset, "Config").model_validate(settings)
    return PolicyGradient(config, SamplingConfig(max_tokens=4), 0)


def one_each(*samples: tuple[list[int], float]) -> tuple[ScoredGroup, ...]:
    return tuple(
        ScoredGroup(prompt(f"p{i}"), (trajectory(f"p{i}", 0, tokens, [UNIFORM] * len(tokens)),), (Score(score),))
        for i, (tokens, score) in enumerate(samples)
    )


def learn(method: PolicyGradient, roles: Roles, step: Step = STEP, **samples: Any) -> Learned:
    return method.learn(roles, Samples(version=0, **samples), step)


def roles_with(**roles: object) -> Roles:
    return replace(make_roles(), **roles)  # type: ignore[arg-type]


def reference() -> FrozenSoftmax:
    return FrozenSoftmax(torch.zeros(4))


def roles_for(method: PolicyGradient) -> Roles:
    """What it needs, and nothing else."""
    offered = {"reference": reference(), "critic": ConstantCritic(0.3)}
    return roles_with(**{role: offered[role] for role in method.config.facts.needs & offered.keys()})


def test_a_ppo_step_by_hand():
    # One-token answers scored 1 and 0, the critic says 0: by GAE with nothing after them the advantages are 1 and 0,
    # the returns too. Whitened: mean 0.5, deviation sqrt(0.5): +-0.70710678. Token mean: logit 1 moves up by half of
    # it, logit 2 down. The critic's loss is 0.5 mean (v - R)^2 with gradient -(1 + 0) / 2 at 0, and rate 1 takes it to
    # 0.5; its clip of 0.2 acts only afterwards.
    critic, policy = ConstantCritic(), SoftmaxPolicy()
    method = preset_method("ppo", epochs=1, kl_coef=0.0)
    assert method.config.facts.needs == {"policy", "critic", "rollout", "reward"}
    learned = learn(method, Roles(policy=policy, critic=critic), kept=one_each(([1], 1.0), ([2], 0.0)))
    expected = torch.tensor([0.0, 0.35355339, -0.35355339, 0.0], dtype=torch.float64)
    torch.testing.assert_close(policy.logits.detach(), expected, atol=1e-6, rtol=0)
    assert critic.value.item() == pytest.approx(0.5)
    stats = values(learned.stats)
    assert stats["value_loss"] == pytest.approx(0.25)  # half of (1 + 0) / 2
    assert stats["explained_variance"] == pytest.approx(0.0)  # a constant explains nothing
    assert learned.advantages == pytest.approx({"t/p0/0": 0.70710678, "t/p1/0": -0.70710678})


def test_the_kl_in_the_reward_keeps_the_policy_where_it_is():
    # The policy prefers token 1 by log 3 more than the reference does: p = (1, 3, 1, 1) / 6. Both answers score 0, so
    # only the penalty speaks: k1 is log(1/2) - log(1/4) = 0.6931472 for token 1 and log(1/6) - log(1/4) = -0.4054651
    # for token 2; total rewards are -0.1 times that.
    policy = SoftmaxPolicy()
    policy.logits = torch.tensor([0.0, math.log(3), 0.0, 0.0], dtype=torch.float64, requires_grad=True)
    before = policy.logits.detach().clone()
    method = preset_method("reinforce_pp", mini_batches=1, kl_coef=0.1)
    learned = learn(method, roles_with(policy=policy, reference=reference()), kept=one_each(([1], 0.0), ([2], 0.0)))
    assert values(learned.stats)["non_score_reward"] == pytest.approx(-0.1 * (0.6931472 - 0.4054651) / 2)
    moved = policy.logits.detach() - before
    assert moved[1] < 0 < moved[2]


def test_the_adaptive_coefficient_is_remembered_and_used():
    method = preset_method("ppo", kl_coef=0.1, kl_target=1.0, kl_horizon=100, epochs=1)
    roles = roles_with(reference=FrozenSoftmax(torch.zeros(4)), critic=ConstantCritic())
    groups = one_each(([1], 1.0), ([2], 0.0))
    # Policy and reference are equal: KL 0, error -1, clipped to -0.2; two samples of a horizon of 100.
    learned = learn(method, roles, kept=groups)
    assert learned.memory["kl_coef"] == pytest.approx(0.1 * (1 - 0.2 * 0.02))
    again = learn(method, roles, Step(2, 1, 0, learned.memory), kept=groups)
    assert values(again.stats)["kl_coef"] == pytest.approx(learned.memory["kl_coef"])


def test_the_greedy_answer_is_the_baseline_and_not_trained_on():
    # The greedy answer of an almost uniform policy that slightly prefers 3 is 3; it scores 1 where the answer is 3,
    # else 0.
    roles = make_roles()
    assert isinstance(roles.policy, SoftmaxPolicy)
    assert roles.weight_sync is not None
    roles.policy.logits = torch.tensor([0.0, 0.0, 0.0, 1e-3], dtype=torch.float64, requires_grad=True)
    roles.weight_sync.sync(0)
    method = preset_method("remax", prompts_per_step=4, kl_coef=0.0)
    samples = method.collect(roles, Stream([prompt(f"p{i}", str(i)) for i in range(4)], seed=0, shuffle=False), STEP)
    assert samples.greedy == {("p0", 0): 0.0, ("p1", 0): 0.0, ("p2", 0): 0.0, ("p3", 0): 1.0}
    assert [group.trajectories[0].text for group in samples.beside] == ["3"] * 4
    learned = method.learn(roles, samples, STEP)
    assert samples.greedy is not None
    scores = {group.trajectories[0].sample_id: group.scores[0] for group in samples.kept}
    greedy = {group.trajectories[0].sample_id: samples.greedy[group.prompt.prompt_id, 0] for group in samples.kept}
    assert learned.advantages == pytest.approx({name: scores[name] - greedy[name] for name in scores})


def test_the_greedy_score_is_shaped_as_the_samples_are():
    # The greedy answer ends by itself and scores 5, clipped to 2. Samples ran into the limit: 1 - 0.5. So the advantage
    # is 0.5 - 2.
    def graded(p: Any, t: Any) -> Any:
        return Score(5.0 if t.sample_id.startswith("greedy") else 1.0)

    roles = make_roles(graded)
    assert roles.weight_sync is not None
    roles.weight_sync.sync(0)
    method = preset_method("remax", prompts_per_step=2, kl_coef=0.0, reward_clip=2.0, missing_eos_penalty=0.5)
    samples = method.collect(roles, Stream([prompt("a"), prompt("b")], seed=0, shuffle=False), STEP)
    cut = tuple(
        replace(group, trajectories=tuple(replace(t, finish_reason="length") for t in group.trajectories))
        for group in samples.kept
    )
    learned = method.learn(roles, replace(samples, kept=cut), STEP)
    assert set(learned.advantages.values()) == {-1.5}


def test_a_prompt_whose_greedy_answer_has_no_score_is_left_out_and_counted():
    def silent_on_p1(p: Any, t: Any) -> Any:
        return Abstention("down") if p.prompt_id == "p1" and t.sample_id.startswith("greedy") else Score(1.0)

    roles = make_roles(silent_on_p1)
    assert roles.weight_sync is not None
    roles.weight_sync.sync(0)
    method = preset_method("remax", prompts_per_step=3, kl_coef=0.0)
    samples = method.collect(roles, Stream([prompt(f"p{i}") for i in range(3)], seed=0, shuffle=False), STEP)
    assert [group.prompt.prompt_id for group in samples.kept] == ["p0", "p2"]
    assert samples.metrics["rollout/groups_left_out"] == 1


def test_only_the_critic_learns_during_its_warm_up():
    policy, critic = SoftmaxPolicy(), ConstantCritic()
    method = preset_method("ppo", epochs=1, kl_coef=0.0, critic_warmup=1)
    groups = one_each(([1], 1.0), ([2], 0.0))
    learn(method, Roles(policy=policy, critic=critic), kept=groups)
    assert (policy.updates, critic.value.item()) == (0, pytest.approx(0.5))
    learn(method, Roles(policy=policy, critic=critic), Step(2, 1, 0), kept=groups)
    assert policy.updates == 1


def test_pretraining_adds_its_gradient():
    # Advantages are 0 (equal rewards), so all that moves the logits is the cross-entropy of token 2, weighed by 0.5:
    # 0.5 (onehot - 1/4).
    method = preset_method("reinforce_pp", prompts_per_step=2, mini_batches=1, kl_coef=0.0, ptx_coef=0.5, ptx_batch=3)
    roles = make_roles(lambda p, t: Score(1.0))
    assert roles.weight_sync is not None
    roles.weight_sync.sync(0)
    texts = Stream([Demonstration(f"t{i}", (0, 2), (0, 1)) for i in range(3)], seed=0, shuffle=False)
    source = WithPretraining(Stream([prompt("a"), prompt("b")], seed=0, shuffle=False), texts)
    learned = method.learn(roles, method.collect(roles, source, STEP), STEP)
    assert isinstance(roles.policy, SoftmaxPolicy)
    expected = torch.tensor([-0.125, -0.125, 0.375, -0.125], dtype=torch.float64)
    torch.testing.assert_close(roles.policy.logits.detach(), expected)
    assert values(learned.stats)["ptx_nll"] == pytest.approx(math.log(4))
    with pytest.raises(ConfigError, match=r"ptx_coef needs data\.pretrain"):
        method.collect(roles, Stream([prompt("a"), prompt("b")], seed=0, shuffle=False), STEP)


@pytest.mark.parametrize("preset", PRESETS)
def test_abstained_samples_change_nothing_for_the_rest(preset: str):
    def moved(*abstained: int) -> torch.Tensor:
        results = [Score(1.0), Score(0.0), Score(0.0), Score(0.5)]
        samples = [trajectory("p", i, [i], [UNIFORM]) for i in range(4)]
        for place in abstained:
            results.insert(place, Abstention("down"))  # type: ignore[arg-type]
            samples.insert(place, trajectory("p", 9 + place, [3], [UNIFORM]))
        group = ScoredGroup(prompt("p"), tuple(samples), tuple(results))
        method = preset_method(preset, prompts_per_step=4, mini_batches=1)
        roles = roles_for(method)
        learn(method, roles, kept=(group,), greedy={("p", 0): 0.25} if preset == "remax" else None)
        assert isinstance(roles.policy, SoftmaxPolicy)
        return roles.policy.logits.detach()

    torch.testing.assert_close(moved(1, 4), moved(), rtol=0, atol=0)
    assert moved().abs().max() > 0


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_learns_to_answer(preset: str):
    config = registry.resolve("rlsys.methods", preset, "Config")()
    prompts = 64 // config.group_size
    method = preset_method(preset, prompts_per_step=prompts, mini_batches=min(config.mini_batches, 4))
    roles = roles_for(method)
    stream = Stream([prompt(f"p{i}", "3") for i in range(prompts)], seed=0, shuffle=True)
    memory: dict[str, float] = {}
    for number in range(1, 41):
        assert roles.weight_sync is not None
        roles.weight_sync.sync(number)
        step = Step(number, number, 0, memory)
        memory = method.learn(roles, method.collect(roles, stream, step), step).memory
    assert isinstance(roles.policy, SoftmaxPolicy)
    assert torch.softmax(roles.policy.logits, 0)[3] > 0.8
