import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from rlsys.objectives.advantages import group_relative, leave_one_out


def test_by_hand():
    # Group 7: rewards 1, 0, 0, 1: mean 1/2, squared deviations 4 x 1/4 = 1, variance 1/3 (ddof 1), std 0.57735; 0.5 /
    # 0.57745 = 0.86588. Group 3: rewards 1, 2, 6: mean 3, squared deviations 4 + 1 + 9 = 14, variance 7, std 2.64575;
    # -2, -1, 3 over 2.64585.
    rewards, groups = torch.tensor([1.0, 1.0, 0.0, 2.0, 0.0, 6.0, 1.0]), torch.tensor([7, 3, 7, 3, 7, 3, 7])
    a, b = 0.5 / (math.sqrt(1 / 3) + 1e-4), 1 / (math.sqrt(7) + 1e-4)
    assert_close(group_relative(rewards, groups), torch.tensor([a, -2 * b, -a, -b, -a, 3 * b, a]))
    assert a == pytest.approx(0.86588, abs=1e-5)
    assert_close(
        group_relative(rewards, groups, scale_by_std=False), torch.tensor([0.5, -2.0, -0.5, -1.0, -0.5, 3.0, 0.5])
    )


@given(
    reward=st.floats(-1e6, 1e6),
    size=st.integers(2, 33),
    scale=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_equal_rewards_give_exactly_zero(reward: float, size: int, scale: bool, dtype: torch.dtype):
    assert not group_relative(
        torch.full((size,), reward, dtype=dtype), torch.zeros(size, dtype=torch.long), scale
    ).any()


@given(st.lists(st.lists(st.floats(-10, 10, width=32), min_size=2, max_size=5), min_size=1, max_size=5), st.randoms())
def test_each_group_alone_in_any_order(groups: list[list[float]], random):
    rows = [(reward, g) for g, group in enumerate(groups) for reward in group]
    random.shuffle(rows)
    rewards, index = torch.tensor([r for r, _ in rows]), torch.tensor([g for _, g in rows])
    got = group_relative(rewards, index)
    for g in range(len(groups)):
        mine = rewards[index == g].double()
        assert_close(got[index == g], ((mine - mine.mean()) / (mine.std() + 1e-4)).float(), atol=1e-5, rtol=1e-5)


def test_a_group_of_one_is_an_error():
    with pytest.raises(ValueError, match="group 5 has a single scored sample"):
        group_relative(torch.tensor([1.0, 0.0, 1.0]), torch.tensor([2, 5, 2]))
    with pytest.raises(ValueError, match="group 5 has a single scored sample"):
        leave_one_out(torch.tensor([1.0, 0.0, 1.0]), torch.tensor([2, 5, 2]))


def test_leave_one_out_by_hand():
    # Group 7: 1, 0, 0, 1: 1 - 1/3 and 0 - 2/3. Group 3: 1, 2, 6: 1 - 4, 2 - 3.5, 6 - 1.5.
    rewards, groups = torch.tensor([1.0, 1.0, 0.0, 2.0, 0.0, 6.0, 1.0]), torch.tensor([7, 3, 7, 3, 7, 3, 7])
    assert_close(leave_one_out(rewards, groups), torch.tensor([2 / 3, -3.0, -2 / 3, -1.5, -2 / 3, 4.5, 2 / 3]))
    assert not leave_one_out(torch.full((5,), 0.1), torch.zeros(5, dtype=torch.long)).any()
