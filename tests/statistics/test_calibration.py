"""Calibration error by hand, in two ways of binning."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rlsys.objectives.calibration import expected_calibration_error
from rlsys.statistics.calibration import binned, calibration

P = [0.1, 0.3, 0.35, 0.6, 0.9, 1.0]
Y = [0, 0, 1, 1, 1, 0]


def test_by_hand():
    """Two bins of equal width: 0.1 0.3 0.35 (mean 0.25, of which 1/3 came true), 0.6 0.9 1.0 (mean 0.8333, 2/3). Of
    equal mass they are the same: 1/2 * |1/3 - 1/4| + 1/2 * |2/3 - 5/6| = 0.125."""
    found = calibration(P, Y, bins=2)
    assert found.ece == pytest.approx(0.125)
    assert found.ece_mass == pytest.approx(0.125)
    assert [one.outcome.count for one in found.table] == [1, 2]
    squares = (0.1**2 + 0.3**2 + 0.65**2 + 0.4**2 + 0.1**2 + 1.0**2) / 6
    assert found.brier == pytest.approx(squares)
    # Either bin has the noise 2/9 / 2 = 1/9, more than its squared error: 1/144 and 1/36.
    assert found.debiased == 0.0


def test_the_debiased_error_by_hand():
    """Ten forecasts of 0.9, half of which come true: error 0.4, noise 0.25 / 9."""
    found = calibration([0.9] * 10, [1, 0] * 5)
    assert found.ece == pytest.approx(0.4)
    assert found.debiased == pytest.approx((0.16 - 0.25 / 9) ** 0.5)
    assert len(found.table) == 1, "equal forecasts are in one bin"


def test_bins_of_equal_width_are_those_of_the_reward_model_s_measure():
    chance = np.random.default_rng(0)
    p, y = chance.random(500).round(2), chance.random(500) < 0.5
    expected = expected_calibration_error(torch.tensor(p), torch.tensor(y))
    assert calibration(p.tolist(), y.tolist()).ece == pytest.approx(expected, abs=1e-12)


def test_bins_of_equal_mass_have_equally_many():
    p = np.random.default_rng(1).beta(8, 1, 1000).tolist()
    assert [one.outcome.of for one in binned(p, [0.0] * 1000, 10, "mass")] == [100] * 10


def test_noise_is_no_miscalibration():
    """Forecasts that are right: the usual error says 0.1 or so of 10 in a bin, the debiased one little."""
    chance, usual, without = np.random.default_rng(2), [], []
    for _ in range(200):
        p = chance.random(100)
        found = calibration(p.tolist(), (chance.random(100) < p).tolist())
        usual.append(found.ece_mass)
        without.append(found.debiased**2)
    assert np.mean(usual) > 0.08
    assert np.mean(without) < 0.01


@pytest.mark.parametrize(("p", "y", "bins"), [([], [], 10), ([1.1], [1], 10), ([0.5], [2], 10), ([0.5], [1], 0)])
def test_what_is_no_forecast_is_refused(p: list[float], y: list[float], bins: int):
    with pytest.raises(ValueError, match=r"probabilit"):
        calibration(p, y, bins)
