"""Each baseline on the same three samples, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from support.fakes import prompt, trajectory
from torch.testing import assert_close

from rlsys.batch import ScoredBatch
from rlsys.methods.policy_gradient.estimate import estimate
from rlsys.methods.policy_gradient.settings import Settings
from rlsys.samples import Score, ScoredGroup

UNIFORM = math.log(0.25)
REWARDS = torch.tensor([[0.0, 0.5, 1.0], [0.0, 2.0, 0.0], [0.0, -1.0, 4.0]])
"""Per token; the second response has one token. Totals 1.5, 2 and 3."""


def batch() -> ScoredBatch:
    samples = tuple(
        trajectory("p", i, tokens, [UNIFORM] * len(tokens)) for i, tokens in enumerate(([1, 2], [3], [2, 2]))
    )
    return ScoredBatch.from_groups([ScoredGroup(prompt("p"), samples, (Score(1.5), Score(2.0), Score(3.0)))], pad_id=0)


def advantages(
    greedy: torch.Tensor | None = None, values: torch.Tensor | None = None, **settings: object
) -> torch.Tensor:
    config = Settings.model_validate({"name": "x", **settings})
    return estimate(config, batch(), REWARDS, values, greedy).advantages_BT


def test_group_mean():
    # Mean 13/6; 1.5, 2 and 3 are -2/3, -1/6 and 5/6 away from it.
    plain = torch.tensor([[0.0, -2 / 3, -2 / 3], [0.0, -1 / 6, 0.0], [0.0, 5 / 6, 5 / 6]])
    assert_close(advantages(baseline="group_mean"), plain)
    # Squares 4/9 + 1/36 + 25/36 = 42/36, variance 21/36, deviation 0.76376262.
    assert_close(advantages(baseline="group_mean", scale="group_std"), plain / (0.76376262 + 1e-4))


def test_leave_one_out():
    # Others' means: 2.5, 2.25 and 1.75.
    assert_close(
        advantages(baseline="leave_one_out"), torch.tensor([[0.0, -1.0, -1.0], [0.0, -0.25, 0.0], [0.0, 1.25, 1.25]])
    )


def test_greedy():
    greedy = torch.tensor([1.0, 1.0, 1.0])
    assert_close(
        advantages(greedy, baseline="greedy"), torch.tensor([[0.0, 0.5, 0.5], [0.0, 1.0, 0.0], [0.0, 2.0, 2.0]])
    )


def test_batch_mean_credits_a_token_with_what_came_after_it():
    # Returns to go 1.5, 1 | 2 | 3, 4: mean 2.3.
    assert_close(
        advantages(baseline="batch_mean"), torch.tensor([[0.0, -0.8, -1.3], [0.0, -0.3, 0.0], [0.0, 0.7, 1.7]])
    )
    # Whitened: squares .64 + 1.69 + .09 + .49 + 2.89 = 5.8, variance 1.45, deviation 1.2041595.
    whitened = torch.tensor([[0.0, -0.8, -1.3], [0.0, -0.3, 0.0], [0.0, 0.7, 1.7]]) / 1.2041595
    assert_close(advantages(baseline="batch_mean", scale="whiten"), whitened)


def test_gae_with_lambda_0_is_the_one_step_error_and_with_1_the_return_less_the_value():
    values = torch.tensor([[0.0, 1.0, 2.0], [0.0, 1.0, 0.0], [0.0, 0.5, 3.0]])
    one_step = torch.tensor([[0.0, 0.5 + 2 - 1, 1.0 - 2], [0.0, 1.0, 0.0], [0.0, -1 + 3 - 0.5, 4.0 - 3]])
    assert_close(advantages(values=values, baseline="gae", gae_lambda=0.0), one_step)
    whole = torch.tensor([[0.0, 0.5, -1.0], [0.0, 1.0, 0.0], [0.0, 2.5, 1.0]])
    assert_close(advantages(values=values, baseline="gae", gae_lambda=1.0), whole)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"group_size": 1}, "baseline group_mean compares samples of one prompt: group_size must be at least 2"),
        ({"baseline": "gae", "scale": "group_std"}, "scale: group_std is for the baseline group_mean, not for gae"),
        (
            {"baseline": "greedy", "equal_groups": "drop"},
            "equal_groups: drop is for the baselines group_mean and leave_one_out",
        ),
        ({"kl_target": 1.0, "kl_coef": 0.1, "kl_horizon": 51}, "kl_horizon: 51 samples are too few for a step of 256"),
        ({"kl_coef": 0.1, "kl_estimator": "k1"}, "the gradient of k1 in the loss is 0 on average"),
        ({"clip_low": 1.0}, "clip_low: 1 leaves token_ratio open from below"),
        (
            {"baseline": "greedy", "normalize_rewards": "batch"},
            "normalize_rewards: the greedy answer's reward is no part of the statistics",
        ),
        (
            {"surrogate": "sapo", "dual_clip": 3.0},
            "dual_clip has no effect: it goes with surrogate of token_ratio, and surrogate is sapo",
        ),
        ({"ptx_batch": 3}, "ptx_batch has no effect: ptx_coef is not set"),
        ({"kl_target": 1.0}, "kl_target adapts kl_coef, which must then start above 0"),
        ({"missing_eos_score": 0.0, "missing_eos_penalty": 1.0}, "exclude each other"),
        ({"importance_low": 3.0}, "importance_low must be below importance_high, not 3.0 and 2.0"),
        ({"mini_batches": 300}, "mini_batches: 300 is more than the 256 samples of a step"),
    ],
)
def test_settings_that_do_not_fit_together(settings: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        Settings.model_validate({"name": "x", **settings})
