from __future__ import annotations

import pytest
import torch
from support.fakes import SoftmaxPolicy, make_roles, prompt, trajectory, unanswered

from rlsys.config.sampling import SamplingConfig
from rlsys.data.stream import Stream
from rlsys.errors import RlsysError
from rlsys.methods.base import Step
from rlsys.methods.grpo import Config, Method
from rlsys.methods.policy_gradient.method import Samples
from rlsys.roles import Roles
from rlsys.samples import Abstention, Score, ScoredGroup

STEP = Step(number=1, version=0, seed=0)
UNIFORM = torch.log(torch.tensor(0.25)).item()


def grpo(sampling: SamplingConfig | None = None, **settings: object) -> Method:
    return Method(
        Config.model_validate({"prompts_per_step": 4, "group_size": 2, **settings}),
        sampling or SamplingConfig(max_tokens=4),
        0,
    )


def group(name: str, *samples: tuple[int, float | None]) -> ScoredGroup:
    """One-token responses of a uniform policy, with their rewards; None abstains."""
    results = tuple(Abstention("down") if reward is None else Score(reward) for _, reward in samples)
    return ScoredGroup(
        prompt(name), tuple(trajectory(name, i, [token], [UNIFORM]) for i, (token, _) in enumerate(samples)), results
    )


def learned(method: Method, *groups: ScoredGroup) -> torch.Tensor:
    """The logits after one step on `groups`, from uniform."""
    policy = SoftmaxPolicy()
    method.learn(Roles(policy), Samples(version=0, groups=groups, kept=groups), STEP)
    return policy.logits.detach()


def test_one_step_on_one_group_by_hand():
    # Rewards 1 and 0: mean 0.5, std (ddof 1) sqrt(0.5) = 0.70710678, advantages +-0.5 / 0.70720678 = +-0.70700678.
    # Mean over two one-token sequences of -A x ratio; d log p(token) / d logits = onehot - p, and p cancels between the
    # two: gradient = -(A / 2) (onehot_1 - onehot_2), so SGD with rate 1 moves logit 1 by +A/2 = 0.35350339 and logit 2
    # by as much down.
    moved = learned(grpo(), group("a", (1, 1.0), (2, 0.0)))
    torch.testing.assert_close(
        moved, torch.tensor([0.0, 0.35350339, -0.35350339, 0.0], dtype=torch.float64), atol=1e-6, rtol=0
    )


def test_without_std_the_advantage_is_the_difference_from_the_mean():
    moved = learned(grpo(scale="none"), group("a", (1, 1.0), (2, 0.0)))
    torch.testing.assert_close(moved, torch.tensor([0.0, 0.25, -0.25, 0.0], dtype=torch.float64), atol=1e-6, rtol=0)


def test_abstained_samples_change_nothing_for_the_rest():
    scored = [(1, 1.0), (2, 0.0), (3, 0.0)]
    without = learned(grpo(), group("a", *scored))
    torch.testing.assert_close(learned(grpo(), group("a", *scored[:2], (0, None), scored[2])), without, rtol=0, atol=0)
    torch.testing.assert_close(
        learned(grpo(), group("a", *scored), group("b", (1, None), (2, None))), without, rtol=0, atol=0
    )
    torch.testing.assert_close(
        learned(grpo(), group("a", *scored), group("b", (1, 1.0), (2, None))), without, rtol=0, atol=0
    )


def test_advantages_are_reported_by_sample_and_only_for_those_trained_on():
    learned = grpo().learn(
        Roles(SoftmaxPolicy()), Samples(version=0, kept=(group("a", (1, 1.0), (2, None), (3, 0.0)),)), STEP
    )
    assert learned.advantages == pytest.approx({"t/a/0": 0.70700678, "t/a/2": -0.70700678})


def test_second_epoch_is_clipped_against_the_policy_before_the_step():
    # After the first update p(1) = e^0.3535 / (2 + e^0.3535 + e^-0.3535) = 0.3455, a ratio of 1.382 > 1.2 with A > 0:
    # clipped. Token 2: 0.6816 < 0.8 with A < 0: clipped too. So the second epoch moves nothing, which only holds if the
    # old log-probs are those from before epoch one.
    once, twice = (learned(grpo(epochs=n), group("a", (1, 1.0), (2, 0.0))) for n in (1, 2))
    torch.testing.assert_close(twice, once, rtol=0, atol=1e-12)


def collect(method: Method, roles: Roles, rows: int = 40) -> Samples:
    assert roles.weight_sync is not None
    roles.weight_sync.sync(0)
    return method.collect(
        roles, Stream([prompt(f"p{i}", str(i % 4)) for i in range(rows)], seed=0, shuffle=False), STEP
    )


def test_groups_come_back_in_the_prompts_order():
    samples = collect(grpo(), make_roles())
    assert [g.prompt.prompt_id for g in samples.kept] == ["p0", "p1", "p2", "p3"]


def test_resampling_goes_on_until_every_group_has_something_to_teach():
    samples = collect(grpo(equal_groups="resample", max_resamples=20), make_roles())
    assert len(samples.kept) == 4
    assert all(len(set(g.scores)) == 2 for g in samples.kept)
    assert len(samples.groups) > 4, "the groups that were left out are recorded as well"
    assert samples.metrics["rollout/groups_left_out"] == len(samples.groups) - 4
    ids = [t.sample_id for g in samples.groups for t in g.trajectories]
    assert len(set(ids)) == len(ids)


def test_dropping_leaves_equal_groups_out_and_asks_for_no_others():
    samples = collect(grpo(equal_groups="drop"), make_roles())
    assert len(samples.groups) == 4
    assert list(samples.kept) == [g for g in samples.groups if len(set(g.scores)) == 2]
    assert 0 < len(samples.kept) < 4


def test_nothing_is_trained_when_no_group_can_teach():
    policy = SoftmaxPolicy()
    assert grpo().learn(Roles(policy), Samples(version=0, kept=()), STEP).stats == {}
    assert policy.updates == 0


def test_overlong_responses_lose_points():
    # max_tokens 4, half of it 2: 3 tokens are one into the buffer, so -(3 - 2) / 2 = -0.5.
    roles = make_roles(lambda p, t: Score(1.0), length=3)
    samples = collect(grpo(overlong_share=0.5), roles)
    assert samples.groups[0].results[0] == Score(0.5, {"overlong": -0.5})


def test_a_step_of_which_nothing_could_be_scored_stops_the_run_with_the_reason():
    with pytest.raises(RlsysError, match=r"train-1: none of 8 samples could be scored; most often \(8\): judge down"):
        collect(grpo(), make_roles(unanswered))


def test_metrics_count_abstentions_and_average_only_what_was_scored():
    roles = make_roles(lambda p, t: Abstention("down") if p.prompt_id == "p0" else Score(2.0))
    metrics = collect(grpo(), roles).metrics
    assert metrics["reward/abstained"] == 2
    assert metrics["reward/mean"] == 2.0
    assert metrics["rollout/samples"] == 8


def test_learns_to_answer():
    roles = make_roles(learning_rate=2.0)
    method = grpo(prompts_per_step=8, group_size=8)
    stream = Stream([prompt(f"p{i}", "3") for i in range(8)], seed=0, shuffle=True)
    assert roles.weight_sync is not None
    for number in range(1, 31):
        roles.weight_sync.sync(number)
        step = Step(number, number, 0)
        method.learn(roles, method.collect(roles, stream, step), step)
    assert isinstance(roles.policy, SoftmaxPolicy)
    assert torch.softmax(roles.policy.logits, 0)[3] > 0.9
