"""Returns, generalised advantages, whitening and explained variance."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from rlsys.objectives.advantages import explained_variance, gae, packed_gae, returns_to_go, whiten

NAN = float("nan")

# Rewards 0, 0, 1 and values 0.5, 0.6, 0.7; gamma 0.9, lambda 0.8, gamma lambda 0.72:
#   delta_3 = 1 - 0.7                =  0.3        A_3 = 0.3                           R_3 = 1.0
#   delta_2 = 0.9 x 0.7 - 0.6        =  0.03       A_2 = 0.03 + 0.72 x 0.3 = 0.246     R_2 = 0.846
#   delta_1 = 0.9 x 0.6 - 0.5        =  0.04       A_1 = 0.04 + 0.72 x 0.246 = 0.21712 R_1 = 0.71712
ADVANTAGES, RETURNS = [0.21712, 0.246, 0.3], [0.71712, 0.846, 1.0]
# A second row, rewards 2, -1 and values 1, 3:  A_2 = -1 - 3 = -4;  A_1 = 2 + 0.9 x 3 - 1 - 0.72 x 4 = 0.82.
OTHER_ADVANTAGES, OTHER_RETURNS = [0.82, -4.0], [1.82, -1.0]


def test_gae_by_hand():
    rewards = torch.tensor([[0.0, 0.0, 0.0, 1.0], [0.0, 2.0, -1.0, 0.0]])
    values = torch.tensor([[0.0, 0.5, 0.6, 0.7], [0.0, 1.0, 3.0, 0.0]], requires_grad=True)
    mask = torch.tensor([[False, True, True, True], [False, True, True, False]])
    advantages, returns = gae(rewards, values, mask, gamma=0.9, lam=0.8)
    assert_close(advantages, torch.tensor([[0.0, *ADVANTAGES], [0.0, *OTHER_ADVANTAGES, 0.0]]))
    assert_close(returns, torch.tensor([[0.0, *RETURNS], [0.0, *OTHER_RETURNS, 0.0]]))
    assert not advantages.requires_grad
    assert not returns.requires_grad


def test_gaps_between_turns_are_stepped_over_and_not_looked_at():
    # The same three tokens with a tool's answer between the second and the third, prompt and padding: all of that holds
    # NaN.
    mask = torch.tensor([[False, True, True, False, False, True, False]])
    rewards, values = (
        torch.tensor([[NAN, 0.0, 0.0, NAN, NAN, 1.0, NAN]]),
        torch.tensor([[NAN, 0.5, 0.6, NAN, NAN, 0.7, NAN]]),
    )
    advantages, returns = gae(rewards, values, mask, gamma=0.9, lam=0.8)
    assert_close(advantages, torch.tensor([[0.0, *ADVANTAGES[:2], 0.0, 0.0, ADVANTAGES[2], 0.0]]))
    assert_close(returns, torch.tensor([[0.0, *RETURNS[:2], 0.0, 0.0, RETURNS[2], 0.0]]))


def test_packed_rows_by_hand():
    # A row of 4 (prompt token first), an empty one, a row of 3 whose first value would leak into the first row.
    rewards, values = torch.tensor([0.0, 0, 0, 1, 0, 2, -1]), torch.tensor([9.0, 0.5, 0.6, 0.7, 9, 1, 3])
    mask = torch.tensor([False, True, True, True, False, True, True])
    advantages, returns = packed_gae(rewards, values, mask, torch.tensor([4, 0, 3]), gamma=0.9, lam=0.8)
    assert_close(advantages, torch.tensor([0.0, *ADVANTAGES, 0.0, *OTHER_ADVANTAGES]))
    assert_close(returns, torch.tensor([0.0, *RETURNS, 0.0, *OTHER_RETURNS]))
    # Every token trained, so that rows touch: still nothing crosses the border.
    together, _ = packed_gae(
        torch.tensor([1.0, 100.0]), torch.tensor([0.0, 50.0]), torch.tensor([True, True]), torch.tensor([1, 1]), 1, 1
    )
    assert together.tolist() == [1.0, 50.0]


@settings(max_examples=30)
@given(seed=st.integers(0, 2**31), gamma=st.floats(0, 1), width=st.integers(1, 7))
def test_ends_of_lambda(seed: int, gamma: float, width: int):
    """lambda 0 is the one-step error, lambda 1 the discounted return minus the value (Schulman et al., equations 17 and
    18)."""
    g = torch.Generator().manual_seed(seed)
    rewards, values = torch.randn(2, width, generator=g), torch.randn(2, width, generator=g)
    mask = torch.ones(2, width, dtype=torch.bool)
    following = torch.cat([values[:, 1:], torch.zeros(2, 1)], 1)
    assert_close(gae(rewards, values, mask, gamma, 0.0)[0], rewards + gamma * following - values, atol=1e-5, rtol=1e-5)
    discounted = torch.tensor(
        [[sum(gamma**k * row[t + k] for k in range(width - t)) for t in range(width)] for row in rewards.tolist()]
    )
    advantages, returns = gae(rewards, values, mask, gamma, 1.0)
    assert_close(advantages, discounted - values, atol=1e-5, rtol=1e-5)
    assert_close(returns, discounted, atol=1e-5, rtol=1e-5)


def test_returns_to_go_by_hand():
    # gamma 1/2: 4; 2 + 4/2 = 4; 1 + 4/2 = 3. The gap and what stands in it neither count nor discount.
    rewards, mask = (
        torch.tensor([[7.0, 1.0, 2.0, NAN, 4.0, NAN]]),
        torch.tensor([[False, True, True, False, True, False]]),
    )
    assert returns_to_go(rewards, mask, gamma=0.5).tolist() == [[0.0, 3.0, 4.0, 0.0, 4.0, 0.0]]
    assert returns_to_go(rewards, mask).tolist() == [[0.0, 7.0, 6.0, 0.0, 4.0, 0.0]]


@pytest.mark.parametrize(("gamma", "lam"), [(1.1, 0.9), (-0.1, 0.9), (0.9, 1.1), (NAN, 0.9)])
def test_impossible_discounts(gamma: float, lam: float):
    with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
        gae(torch.zeros(1, 2), torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool), gamma, lam)


def test_whitening_by_hand():
    # 1, 2, 6: mean 3, squared deviations 14, variance 7 (ddof 1).
    values = torch.tensor([[NAN, 1.0, 2.0], [6.0, NAN, NAN]])
    mask = torch.tensor([[False, True, True], [True, False, False]])
    a = 1 / math.sqrt(7)
    assert_close(whiten(values, mask), torch.tensor([[0.0, -2 * a, -a], [3 * a, 0.0, 0.0]]))
    assert_close(whiten(values, mask, shift_mean=False), torch.tensor([[0.0, 3 - 2 * a, 3 - a], [3 + 3 * a, 0.0, 0.0]]))
    # One value per sample: the same with [B] and a [B] mask.
    assert_close(
        whiten(torch.tensor([1.0, 2.0, NAN, 6.0]), torch.tensor([True, True, False, True])),
        torch.tensor([-2 * a, -a, 0, 3 * a]),
    )


def test_whitening_adds_its_epsilon_inside_the_root():
    # +-1e-4: variance 2e-8, 1e-4 / sqrt(3e-8) = 0.57735; outside the root it would be 0.7070.
    assert_close(whiten(torch.tensor([1e-4, -1e-4]), torch.tensor([True, True])), torch.tensor([1, -1]) / math.sqrt(3))


def test_whitening_without_variance():
    assert whiten(torch.tensor([5.0, 7.0]), torch.tensor([False, True])).tolist() == [0.0, 0.0]
    assert whiten(torch.tensor([5.0, 7.0]), torch.tensor([False, True]), shift_mean=False).tolist() == [0.0, 7.0]
    assert whiten(torch.full((3,), 0.1), torch.ones(3, dtype=torch.bool)).tolist() == [0.0, 0.0, 0.0]
    assert whiten(torch.tensor([5.0, 7.0]), torch.tensor([False, False])).tolist() == [0.0, 0.0]


def test_explained_variance_by_hand():
    # Returns 1, 2, 3 (sum of squared deviations 2), errors 1, 0, 0 (2/3): 1 - 1/3. A constant offset explains as well
    # as none.
    returns, mask = torch.tensor([[NAN, 1.0, 2.0, 3.0]]), torch.tensor([[False, True, True, True]])
    assert explained_variance(torch.tensor([[NAN, 0.0, 2.0, 3.0]]), returns, mask) == pytest.approx(2 / 3)
    assert explained_variance(returns + 5, returns, mask) == pytest.approx(1.0)
    assert explained_variance(torch.zeros(1, 4), returns, mask) == pytest.approx(0.0)
    assert explained_variance(-returns, returns, mask) == pytest.approx(-3.0)
    assert math.isnan(explained_variance(returns, torch.full((1, 4), 0.1), mask))
    assert math.isnan(explained_variance(returns, returns, torch.zeros(1, 4, dtype=torch.bool)))
