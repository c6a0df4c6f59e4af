import math
import pickle

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from rlsys.objectives.stats import Stats, values
from rlsys.objectives.surrogates import (
    CispoSurrogate,
    ClippedSurrogate,
    PlainPolicyGradient,
    SapoSurrogate,
    SequenceSurrogate,
    Surrogate,
    clipped_surrogate,
)

#      ratio  A     unclipped  clipped to [0.8, 1.3]   loss = -min    gradient of the loss by the log-prob = -ratio A,
# or 0 where bounded
CASES = [
    (1.0, 2.0, -2.0, -2.0),  # 2.0    2.0
    (1.5, 2.0, -2.6, 0.0),  # 3.0    2.6   bounded above
    (0.5, 2.0, -1.0, -1.0),  # 1.0    1.6   a good token that became unlikely is pulled back
    (0.5, -1.0, 0.8, 0.0),  # -0.5   -0.8  bounded below
    (1.5, -1.0, 1.5, 1.5),  # -1.5   -1.3  a bad token that became likely is pushed back
    (5.0, -1.0, 5.0, 5.0),  # -5.0   -1.3  without a limit, unless dual clip gives one
    (1.5, 0.0, 0.0, 0.0),
]


@pytest.mark.parametrize(("ratio", "advantage", "loss", "gradient"), CASES)
def test_clipped_surrogate_by_hand(ratio: float, advantage: float, loss: float, gradient: float):
    log_prob = torch.tensor(math.log(ratio), dtype=torch.float64, requires_grad=True)
    got = clipped_surrogate(log_prob.exp(), torch.tensor(advantage), clip_low=0.2, clip_high=0.3)
    got.backward()
    assert got.item() == pytest.approx(loss)
    assert log_prob.grad is not None
    assert log_prob.grad.item() == pytest.approx(gradient)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"), [*CASES[:5], (5.0, -1.0, 3.0, 0.0), (5.0, 1.0, -1.3, 0.0)]
)
def test_dual_clip_by_hand(ratio: float, advantage: float, loss: float, gradient: float):
    log_prob = torch.tensor(math.log(ratio), dtype=torch.float64, requires_grad=True)
    got = clipped_surrogate(log_prob.exp(), torch.tensor(advantage), clip_low=0.2, clip_high=0.3, dual_clip=3.0)
    got.backward()
    assert got.item() == pytest.approx(loss)
    assert log_prob.grad is not None
    assert log_prob.grad.item() == pytest.approx(gradient)


def test_dual_clip_at_its_border():
    # At ratio 3 the bounded and the free loss meet at 3; just below the gradient is whole, just above it is gone.
    assert surrogate_gradient(2.999, -1.0) == pytest.approx((2.999, 2.999), rel=1e-6)
    assert surrogate_gradient(3.0, -1.0)[0] == pytest.approx(3.0)
    assert surrogate_gradient(3.001, -1.0) == pytest.approx((3.0, 0.0))


def surrogate_gradient(ratio: float, advantage: float) -> tuple[float, float]:
    log_prob = torch.tensor(math.log(ratio), dtype=torch.float64, requires_grad=True)
    loss = clipped_surrogate(log_prob.exp(), torch.tensor(advantage), clip_low=0.2, clip_high=0.3, dual_clip=3.0)
    return loss.item(), torch.autograd.grad(loss, log_prob)[0].item()


@pytest.mark.parametrize("bounds", [{"clip_low": 1.0}, {"clip_low": -0.1}, {"clip_high": -0.1}, {"dual_clip": 1.0}])
def test_impossible_bounds(bounds: dict[str, float]):
    with pytest.raises(ValueError, match="clip"):
        ClippedSurrogate(**bounds)


def test_surrogate_statistics_by_hand():
    ratio, advantages = torch.tensor([[c[0] for c in CASES]]), torch.tensor([[c[1] for c in CASES]])
    _, stats = ClippedSurrogate(0.2, 0.3, dual_clip=3.0)(
        ratio.log(), torch.zeros(1, 7), advantages, torch.ones(1, 7, dtype=torch.bool)
    )
    assert values(stats) == pytest.approx(
        {
            "ratio": (1 + 1.5 + 0.5 + 0.5 + 1.5 + 5 + 1.5) / 7,
            "ratio_max": 5.0,
            "ratio_variance": (33.25 - 11.5**2 / 7) / 6,  # squares 1 + 2.25 + 0.25 + 0.25 + 2.25 + 25 + 2.25
            "clip_fraction_low": 1 / 7,
            "clip_fraction_high": 1 / 7,
            "clip_fraction_dual": 1 / 7,
        }
    )


def run(
    surrogate: Surrogate, ratio: Tensor, advantages: Tensor, mask: Tensor, old: float = 0.0
) -> tuple[Tensor, Tensor, Stats]:
    """Loss per token, the gradient of their masked sum by the log-probs, statistics. Every token had the log-prob
    `old`."""
    log_probs = (ratio.double().log() + old).requires_grad_()
    loss, stats = surrogate(log_probs, torch.full_like(log_probs, old), advantages.double(), mask)
    gradient = torch.autograd.grad(torch.where(mask, loss, 0).sum(), log_probs)[0]
    return loss.detach().masked_fill(~mask, 0), gradient, stats


# Two responses of two tokens each, with junk in the prompt and in the gap of the second.
MASK = torch.tensor([[False, True, True, False], [False, True, False, True]])
RATIO = torch.tensor([[50.0, 2.0, 0.5, 50.0], [50.0, 4.0, 50.0, 1.0]])


def test_sequence_ratio_by_hand():
    # Geometric means: sqrt(2 x 0.5) = 1 and sqrt(4 x 1) = 2. Bounds 0.9 and 1.5.
    loss, gradient, stats = run(
        SequenceSurrogate(0.1, 0.5), RATIO, torch.tensor([[9.0, 1, 1, 9], [9, -3, 9, -3]]), MASK
    )
    assert_close(loss, torch.tensor([[0, -1, -1, 0], [0, 6, 0, 6]]).double())  # -1 x 1; +3 x 2
    # d s / d log p = s / 2 for each token: summed over the response's tokens -A s.
    assert_close(gradient, torch.tensor([[0, -1, -1, 0], [0, 6, 0, 6]]).double())
    expected = {
        "ratio": 1.5,
        "ratio_max": 2.0,
        "ratio_variance": 1 / 3,
        "clip_fraction_low": 0.0,
        "clip_fraction_high": 0.0,
    }
    assert values(stats) == pytest.approx(expected)


def test_sequence_ratio_is_bounded_as_a_whole():
    # Advantage +3 at ratio 2: loss -3 x 1.5 and no gradient, even for the second token, whose own ratio is 1.
    loss, gradient, stats = run(SequenceSurrogate(0.1, 0.5), RATIO, torch.tensor([[9.0, 1, 1, 9], [9, 3, 9, 3]]), MASK)
    assert_close(loss, torch.tensor([[0, -1, -1, 0], [0, -4.5, 0, -4.5]]).double())
    assert_close(gradient, torch.tensor([[0, -1, -1, 0], [0, 0, 0, 0]]).double())
    assert stats["clip_fraction_high"].value == 0.5
    # Ratio 1/2 below 0.9 with a bad advantage: loss +1 x 0.9, no gradient.
    loss, gradient, stats = run(
        SequenceSurrogate(0.1, 0.5), torch.full((1, 2), 0.5), torch.tensor([[-1.0, -1.0]]), MASK[:1, 1:3]
    )
    assert_close(loss, torch.tensor([[0.9, 0.9]]).double())
    assert not gradient.any()
    assert stats["clip_fraction_low"].value == 1.0


def test_cispo_by_hand():
    # Weights 2, 0.5 -> 0.8, 4 -> 3, 1; log-probs ln ratio - 1; loss -w A log p; its gradient -w A, also at the bounds.
    advantages = torch.tensor([[9.0, 1, 2, 9], [9, -1, 9, 1]])
    loss, gradient, stats = run(CispoSurrogate(0.2, 2.0), RATIO, advantages, MASK, old=-1.0)
    ln2 = math.log(2)
    first, second = [0, -2 * (ln2 - 1), -1.6 * (-ln2 - 1), 0], [0, 3 * (2 * ln2 - 1), 0, 1]
    assert_close(loss, torch.tensor([first, second], dtype=torch.float64))
    assert_close(gradient, torch.tensor([[0, -2, -1.6, 0], [0, 3, 0, -1]]).double())
    # Ratios 2, 1/2, 4, 1: sum 7.5, squares 21.25.
    expected = {"ratio": 1.875, "ratio_max": 4.0, "ratio_variance": (21.25 - 7.5**2 / 4) / 3, "clip_fraction_low": 0.25}
    assert values(stats) == pytest.approx(expected | {"clip_fraction_high": 0.25})
    # By default there is no lower bound, and the upper one is 5.
    wide = run(CispoSurrogate(), torch.tensor([[0.01, 6.0]]), torch.ones(1, 2), torch.ones(1, 2, dtype=torch.bool))
    assert_close(wide[1], torch.tensor([[-0.01, -5.0]]).double())


def test_sapo_by_hand():
    # tau 2 for good tokens, 4 for bad ones, ratio 1 + ln 3 / tau, so that the sigmoid is 3/4: f = 3/4 x 4 / tau = 1.5
    # and 0.75, and the gate is 4 x 3/4 x 1/4 = 3/4. At ratio 1: f = 2 / tau = 1, gate 1. A zero advantage has neither
    # loss nor gradient.
    ratio = torch.tensor([[1 + math.log(3) / 2, 1 + math.log(3) / 4, 1.0, 7.0]], dtype=torch.float64)
    loss, gradient, stats = run(
        SapoSurrogate(2.0, 4.0), ratio, torch.tensor([[1.0, -1.0, 5.0, 0.0]]), torch.ones(1, 4, dtype=torch.bool)
    )
    assert_close(loss, torch.tensor([[-1.5, 0.75, -5.0, 0.0]]).double())
    assert_close(
        gradient, torch.tensor([[-0.75 * (1 + math.log(3) / 2), 0.75 * (1 + math.log(3) / 4), -5.0, 0.0]]).double()
    )
    p = 1 / (1 + math.exp(-24))
    assert stats["gate"].value == pytest.approx((0.75 + 0.75 + 1 + 4 * p * (1 - p)) / 4)
    assert stats["ratio_max"].value == pytest.approx(7.0)


def test_plain_policy_gradient_by_hand():
    loss, gradient, stats = run(
        PlainPolicyGradient(), RATIO, torch.tensor([[9.0, 1, 2, 9], [9, -1, 9, 1]]), MASK, old=-1.0
    )
    ln2 = math.log(2)
    assert_close(loss, torch.tensor([[0, 1 - ln2, 2 + 2 * ln2, 0], [0, 2 * ln2 - 1, 0, 1]], dtype=torch.float64))
    assert_close(gradient, torch.tensor([[0, -1, -2, 0], [0, 1, 0, -1]]).double())
    assert values(stats) == pytest.approx(
        {"ratio": 1.875, "ratio_max": 4.0, "ratio_variance": (21.25 - 7.5**2 / 4) / 3}
    )


ALL = [
    ClippedSurrogate(),
    ClippedSurrogate(dual_clip=2.0),
    SequenceSurrogate(),
    CispoSurrogate(),
    SapoSurrogate(),
    PlainPolicyGradient(),
]


@pytest.mark.parametrize("surrogate", ALL)
def test_on_policy_all_are_the_same_policy_gradient(surrogate: Surrogate):
    # One advantage per response, as the sequence ratio wants.
    advantages = torch.tensor([[9.0, 2, 2, 9], [9, -1, 9, -1]])
    _, gradient, stats = run(surrogate, torch.ones(2, 4), advantages, MASK, old=-0.7)
    assert_close(gradient, torch.where(MASK, -advantages, 0).double())
    assert (stats["ratio"].value, stats["ratio_variance"].value) == (1.0, 0.0)
    assert pickle.loads(pickle.dumps(surrogate)) == surrogate


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (SequenceSurrogate, {"clip_low": 1.0}, "clip_low"),
        (SequenceSurrogate, {"clip_high": -1.0}, "clip_high"),
        (CispoSurrogate, {"clip_low": 1.1}, "CISPO"),
        (CispoSurrogate, {"clip_high": -1.0}, "CISPO"),
        (SapoSurrogate, {"tau_positive": 0.0}, "SAPO"),
        (SapoSurrogate, {"tau_negative": -1.0}, "SAPO"),
    ],
)
def test_impossible_settings(make, settings: dict[str, float], message: str):
    with pytest.raises(ValueError, match=message):
        make(**settings)
