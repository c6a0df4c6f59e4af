"""Scores to rewards per token, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from support.fakes import prompt, trajectory
from torch.testing import assert_close

from rlsys.batch import ScoredBatch
from rlsys.methods.policy_gradient.settings import Settings
from rlsys.methods.policy_gradient.shaping import (
    adapt_kl_coef,
    current_kl_coef,
    response_kl,
    shaped_scores,
    token_kl,
    token_rewards,
)
from rlsys.samples import Score, ScoredGroup

UNIFORM = math.log(0.25)


def groups(*samples: tuple[list[int], float, str]) -> list[ScoredGroup]:
    """One group per sample: its tokens, score and finish reason."""
    return [
        ScoredGroup(
            prompt(f"p{i}"), (trajectory(f"p{i}", 0, tokens, [UNIFORM] * len(tokens), finish=finish),), (Score(score),)
        )
        for i, (tokens, score, finish) in enumerate(samples)
    ]


def settings(**changes: object) -> Settings:
    return Settings.model_validate({"name": "x", **changes})


def shaped(config: Settings, *samples: tuple[float, str], memory: dict[str, float] | None = None) -> list[float]:
    made = groups(*(([1], score, finish) for score, finish in samples))
    rewards_B = torch.tensor([score for score, _ in samples])
    return shaped_scores(config, rewards_B, made, {} if memory is None else memory).tolist()


def test_a_missing_eos_costs_its_penalty_or_sets_the_score():
    samples = ((2.0, "stop"), (3.0, "length"))
    assert shaped(settings(missing_eos_penalty=0.5), *samples) == [2.0, 2.5]
    assert shaped(settings(missing_eos_score=-1.0), *samples) == [2.0, -1.0]
    assert shaped(settings(), *samples) == [2.0, 3.0]


def test_clipping_comes_after_normalisation_and_before_the_penalty():
    # Scores 0, 0, 6: mean 2, variance ((4 + 4 + 16) / 2) = 12, so (-2, -2, 4) / 3.4641016 = -0.5773503, -0.5773503,
    # 1.1547005; clipped to 1.
    config = settings(normalize_rewards="batch", reward_clip=1.0, missing_eos_penalty=0.5)
    assert shaped(config, (0.0, "stop"), (0.0, "length"), (6.0, "stop")) == pytest.approx(
        [-0.5773503, -1.0773503, 1.0], abs=1e-6
    )


def test_running_statistics_are_those_of_all_scores_so_far():
    config, memory = settings(normalize_rewards="running"), {}
    # 1, 3: mean 2, variance 2.
    assert shaped(config, (1.0, "stop"), (3.0, "stop"), memory=memory) == pytest.approx([-0.70710678, 0.70710678])
    # With 8 they are 1, 3, 8: mean 4, squares 9 + 1 + 16 = 26, variance 13; (8 - 4) / 3.6055513.
    assert shaped(config, (8.0, "stop"), memory=memory) == pytest.approx([1.1094004])
    assert memory == pytest.approx({"reward_count": 3, "reward_mean": 4.0, "reward_squares": 26.0})


def batch() -> ScoredBatch:
    return ScoredBatch.from_groups(groups(([1, 2, 3], 5.0, "stop"), ([1], 7.0, "stop")), pad_id=0)


def test_the_score_is_on_the_last_token_and_the_kl_penalty_on_every_one():
    rows = batch()
    log_probs = torch.tensor([[0.0, -1.0, -1.0, -2.0], [0.0, -3.0, 0.0, 0.0]])
    reference = torch.tensor([[0.0, -1.5, -0.5, -2.0], [0.0, -1.0, 0.0, 0.0]])
    config = settings(kl_in="reward", kl_estimator="k1", kl_coef=0.1)
    kl = token_kl(config, log_probs, reference, rows.loss_mask_BT)
    rewards = token_rewards(config, rows, rows.rewards_B, kl, 0.1)
    # k1 is 0.5, -0.5, 0 and -2: minus a tenth of it, and 5 and 7 at the ends.
    assert_close(rewards, torch.tensor([[0.0, -0.05, 0.05, 5.0], [0.0, 7.2, 0.0, 0.0]]))
    in_loss = token_rewards(settings(kl_coef=0.1), rows, rows.rewards_B, kl, 0.1)
    assert_close(in_loss, torch.tensor([[0.0, 0.0, 0.0, 5.0], [0.0, 7.0, 0.0, 0.0]]))


def test_the_controller_steers_the_next_steps_coefficient():
    config, memory = settings(kl_coef=0.1, kl_target=2.0, kl_horizon=100), {}
    assert current_kl_coef(config, memory) == 0.1
    # KL of the responses: 3 and 2, mean 2.5; error 0.25, clipped to 0.2; 2 samples of a horizon of 100: 0.1 x (1 + 0.2
    # x 0.02).
    log_probs, reference = torch.zeros(2, 3), torch.tensor([[0.0, -1.0, -2.0], [0.0, -2.0, 0.0]])
    adapt_kl_coef(config, 0.1, response_kl(log_probs, reference), 2, memory)
    assert current_kl_coef(config, memory) == pytest.approx(0.1004)
