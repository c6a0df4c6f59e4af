import pytest
import torch
from torch.testing import assert_close

from rlsys.objectives.off_policy import Correction, SequenceMasking, SequenceTruncation, TokenMasking, TokenTruncation
from rlsys.objectives.stats import values

# Ratios trainer / sampler 3, 1/2, (masked) and 1; the second row has no trained token.
MASK = torch.tensor([[False, True, True, False, True], [False] * 5])
RATIO = torch.tensor([[9.0, 3.0, 0.5, 100.0, 1.0], [9.0, 9.0, 9.0, 9.0, 9.0]])
SAMPLER = torch.full((2, 5), -1.0)


def test_token_truncation_by_hand():
    weights, stats = TokenTruncation(cap=2.0)(SAMPLER + RATIO.log(), SAMPLER, MASK)
    assert_close(weights[MASK], torch.tensor([2.0, 0.5, 1.0]))  # 3 is cut to 2
    assert values(stats) == pytest.approx({"correction_weight": 3.5 / 3, "correction_cut": 1 / 3})


@pytest.mark.parametrize(("cap", "weight", "cut"), [(2.0, 1.5, 0.0), (1.2, 1.2, 1.0)])
def test_sequence_truncation_by_hand(cap: float, weight: float, cut: float):
    weights, stats = SequenceTruncation(cap)(SAMPLER + RATIO.log(), SAMPLER, MASK)
    # 3 x 1/2 x 1 = 1.5 for every token of the first row; the untrained row counts nowhere.
    assert_close(weights.expand(2, 5)[MASK], torch.full((3,), weight))
    assert values(stats) == pytest.approx({"correction_weight": weight, "correction_cut": cut})


@pytest.mark.parametrize(
    ("low", "high", "weights"), [(0.4, 5.0, [3.0, 0.5, 1.0]), (0.6, 5.0, [3.0, 0.0, 1.0]), (0.4, 2.9, [0.0, 0.5, 1.0])]
)
def test_token_masking_by_hand(low: float, high: float, weights: list[float]):
    got, stats = TokenMasking(low, high)(SAMPLER + RATIO.log(), SAMPLER, MASK)
    assert_close(got[MASK], torch.tensor(weights))
    assert values(stats) == pytest.approx(
        {"correction_weight": sum(weights) / 3, "correction_cut": weights.count(0.0) / 3}
    )


@pytest.mark.parametrize(
    ("low", "high", "weight"), [(0.5, 2.0, 1.0), (1.2, 2.0, 0.0), (0.5, 1.1, 0.0), (1.14, 1.15, 1.0)]
)
def test_sequence_masking_by_hand(low: float, high: float, weight: float):
    # The geometric mean of 3, 1/2, 1 is 1.5^(1/3) = 1.1447.
    got, stats = SequenceMasking(low, high)(SAMPLER + RATIO.log(), SAMPLER, MASK)
    assert_close(got.expand(2, 5)[MASK], torch.full((3,), weight))
    assert values(stats) == {"correction_weight": weight, "correction_cut": 1 - weight}


def test_bounds_belong_to_the_range():
    same = torch.zeros(2, 5)  # ratio exactly 1
    assert TokenMasking(1.0, 2.0)(same, same, MASK)[0][MASK].tolist() == [1.0, 1.0, 1.0]
    assert SequenceMasking(0.5, 1.0)(same, same, MASK)[0].tolist() == [[1.0], [1.0]]


@pytest.mark.parametrize(
    ("correction", "weight"),
    [(TokenTruncation(), 2.0), (SequenceTruncation(), 2.0), (TokenMasking(), 0.0), (SequenceMasking(), 0.0)],
)
def test_weights_carry_no_gradient_and_survive_overflow(correction: Correction, weight: float):
    old = torch.full((2, 5), 500.0, requires_grad=True)
    weights, _ = correction(old, SAMPLER, MASK)
    assert not weights.requires_grad
    assert_close(weights.expand(2, 5)[MASK], torch.full((3,), weight))


@pytest.mark.parametrize("make", [TokenMasking, SequenceMasking])
def test_impossible_bounds(make):
    with pytest.raises(ValueError, match="0 <= low < high"):
        make(2.0, 0.5)
