import math

import pytest
import torch
from torch.testing import assert_close

from rlsys.objectives.kl import KL_ESTIMATORS, KlName, adapted, k1, k2, k3

LN2 = math.log(2)


def test_by_hand():
    # First token: policy 1/2, reference 1/4, d = ln 2. Second: policy 1/4, reference 1/2, d = -ln 2.
    policy, reference = torch.tensor([1 / 2, 1 / 4]).log(), torch.tensor([1 / 4, 1 / 2]).log()
    assert_close(k1(policy, reference), torch.tensor([LN2, -LN2]))
    assert_close(k2(policy, reference), torch.tensor([LN2**2 / 2, LN2**2 / 2]))
    # exp(-ln 2) - 1 + ln 2 = ln 2 - 1/2;  exp(ln 2) - 1 - ln 2 = 1 - ln 2
    assert_close(k3(policy, reference), torch.tensor([LN2 - 0.5, 1 - LN2]))


P, Q = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64), torch.tensor([0.5, 0.1, 0.4], dtype=torch.float64)
KL_PQ = 0.7 * math.log(0.7 / 0.5) + 0.2 * math.log(0.2 / 0.1) + 0.1 * math.log(0.1 / 0.4)


@pytest.mark.parametrize("name", ["k1", "k3"])
def test_unbiased_as_values(name: KlName):
    assert (P * KL_ESTIMATORS[name](P.log(), Q.log())).sum().item() == pytest.approx(KL_PQ, rel=1e-12)


@pytest.mark.parametrize("name", ["k1", "k2", "k3"])
def test_expected_gradient_in_the_loss(name: KlName):
    """Over softmax logits z: grad KL(P||Q) = p (ln p/q - KL(P||Q)), grad KL(Q||P) = p - q, and a score function's
    expectation is 0."""
    logits = P.log().requires_grad_()
    estimates = KL_ESTIMATORS[name](logits.log_softmax(0), Q.log())
    gradient = torch.autograd.grad((P * estimates).sum(), logits)[0]
    expected = {"k1": torch.zeros(3, dtype=torch.float64), "k2": P * ((P / Q).log() - KL_PQ), "k3": P - Q}
    assert_close(gradient, expected[name])


def test_adaptive_coefficient_by_hand():
    # Steps of 100 samples, horizon 1000: a tenth of the error. Target 6.
    assert adapted(0.1, measured=6.6, target=6, horizon=1000, samples=100) == pytest.approx(0.1 * 1.01)  # error 0.1
    assert adapted(0.1, measured=5.4, target=6, horizon=1000, samples=100) == pytest.approx(0.1 * 0.99)
    assert adapted(0.1, measured=60.0, target=6, horizon=1000, samples=100) == pytest.approx(
        0.1 * 1.02
    )  # error 9, clipped to 0.2
    assert adapted(0.1, measured=0.0, target=6, horizon=1000, samples=100) == pytest.approx(
        0.1 * 0.98
    )  # error -1, clipped to -0.2
    assert adapted(0.1, measured=6.0, target=6, horizon=1000, samples=100) == 0.1


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"coefficient": -0.1}, "coefficient"),
        ({"target": 0.0}, "target"),
        ({"horizon": 20.0}, "horizon of 20.0 samples is too short for steps of 100"),
        ({"measured": math.nan}, "measured KL is nan"),
    ],
)
def test_impossible_adaptation(setting: dict[str, float], message: str):
    good = {"coefficient": 0.1, "measured": 1.0, "target": 6.0, "horizon": 1000.0}
    with pytest.raises(ValueError, match=message):
        adapted(**(good | setting), samples=100)
