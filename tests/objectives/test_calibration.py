import math

import pytest
import torch

from rlsys.objectives.calibration import correlation, expected_calibration_error


def test_calibration_error_by_hand():
    # Bins of a fifth. (0.8, 1]: 0.9 and 0.9, one right: |0.5 - 0.9| = 0.4, twice. (0.4, 0.6]: 0.6 right: 0.4. (0.6,
    # 0.8]: 0.7 wrong: 0.7.
    probabilities, correct = (
        torch.tensor([0.9, 0.9, 0.6, 0.7], dtype=torch.float64),
        torch.tensor([True, False, True, False]),
    )
    assert expected_calibration_error(probabilities, correct, bins=5) == pytest.approx((0.8 + 0.4 + 0.7) / 4)
    # One bin: 2 right of a summed probability of 3.1.
    assert expected_calibration_error(probabilities, correct, bins=1) == pytest.approx(1.1 / 4)


def test_borders_belong_to_the_lower_bin():
    # With two bins 0.5 lies below, with 0.3: (0.5 - 1 + 0.3 - 0)/2; if it lay above, with 0.9, the error would be (0.3
    # + 0.6) / 3.
    probabilities, correct = torch.tensor([0.3, 0.5, 0.9]), torch.tensor([0.0, 1.0, 1.0])
    assert expected_calibration_error(probabilities, correct, bins=2) == pytest.approx((0.2 + 0.1) / 3)
    assert expected_calibration_error(torch.tensor([0.0, 1.0]), torch.tensor([False, True])) == 0.0


def test_a_calibrated_forecaster_has_no_error():
    probabilities = torch.tensor([0.25] * 4 + [0.75] * 4, dtype=torch.float64)
    assert expected_calibration_error(probabilities, torch.tensor([1, 0, 0, 0, 1, 1, 1, 0]), bins=10) == 0.0


def test_bad_calibration_input():
    assert math.isnan(expected_calibration_error(torch.empty(0), torch.empty(0)))
    for wrong in (1.1, -0.1, math.nan):
        with pytest.raises(ValueError, match=r"in \[0, 1\]"):
            expected_calibration_error(torch.tensor([wrong]), torch.tensor([True]))
    with pytest.raises(ValueError, match="at least 1 bin"):
        expected_calibration_error(torch.tensor([0.5]), torch.tensor([True]), bins=0)


def test_correlation_by_hand():
    # Deviations -1, 0, 1 and -1, 1, 0: 1 / 2.
    assert correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1, 3, 2])) == pytest.approx(0.5)
    assert correlation(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([-1.0, -2.0, -4.0])) == pytest.approx(-1.0)
    assert math.isnan(correlation(torch.full((3,), 0.1), torch.tensor([1.0, 2.0, 3.0])))
    assert math.isnan(correlation(torch.empty(0), torch.empty(0)))
