import math

import pytest
import torch

from rlsys.objectives.stats import Max, Mean, Variance, masked_max, masked_mean, masked_variance, merge, values

VALUES = torch.tensor([-3.0, float("nan"), -1.0, -2.0], requires_grad=True)
MASK = torch.tensor([True, False, True, True])


def test_masked_by_hand():
    assert masked_mean(VALUES, MASK) == Mean(-6.0, 3.0)
    assert masked_max(VALUES, MASK) == Max(-1.0)
    assert masked_mean(torch.tensor([True, True, False]), torch.tensor([True, False, True])) == Mean(1.0, 2.0)


def test_parts_weigh_by_what_they_counted():
    # (2 + 10) / (1 + 3) = 3, not the mean of the parts' means; names that only some parts have are kept.
    merged = merge([{"loss": Mean(2, 1), "gap": Max(-4)}, {"loss": Mean(10, 3), "gap": Max(-7)}, {"kl": Mean(1, 2)}])
    assert values(merged) == {"loss": 3.0, "gap": -4.0, "kl": 0.5}


def test_nothing_measured_is_not_a_number_that_could_be_believed():
    nothing = torch.zeros(4, dtype=torch.bool)
    assert math.isnan(masked_mean(VALUES, nothing).value)
    merged = merge(
        [{"a": masked_mean(VALUES, nothing), "b": masked_max(VALUES, nothing)}, {"a": Mean(1, 2), "b": Max(-9)}]
    )
    assert values(merged) == pytest.approx({"a": 0.5, "b": -9})


def test_variance_adds_up():
    # -3, -1, -2: mean -2, squared deviations 2, over 2. With 0 and 4 added: sum -2, squares 30; (30 - 4/5) / 4 = 7.3.
    assert masked_variance(VALUES, MASK) == Variance(-6.0, 14.0, 3.0)
    assert masked_variance(VALUES, MASK).value == 1.0
    other = masked_variance(torch.tensor([0.0, 4.0]), torch.tensor([True, True]))
    assert merge([{"v": masked_variance(VALUES, MASK)}, {"v": other}])["v"].value == pytest.approx(7.3)
    assert math.isnan(masked_variance(torch.ones(2), torch.tensor([True, False])).value)
    assert masked_variance(torch.full((7,), 0.1), torch.ones(7, dtype=torch.bool)).value == pytest.approx(
        0.0, abs=1e-15
    )
