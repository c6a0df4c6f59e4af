import pytest
import torch
from torch.testing import assert_close

from rlsys.objectives.off_policy import SequenceTruncation, TokenTruncation
from rlsys.objectives.stats import values

# Ratios trainer / sampler 3, 1/2, (masked) and 1; the second row has no trained token.
MASK = torch.tensor([[False, True, True, False, True], [False] * 5])
RATIO = torch.tensor([[9.0, 3.0, 0.5, 100.0, 1.0], [9.0, 9.0, 9.0, 9.0, 9.0]])
SAMPLER = torch.full((2, 5), -1.0)


def test_token_level_by_hand():
    weights, stats = TokenTruncation(cap=2.0)(SAMPLER + RATIO.log(), SAMPLER, MASK)
    assert_close(weights[MASK], torch.tensor([2.0, 0.5, 1.0]))  # 3 is cut to 2
    assert values(stats) == pytest.approx({"tis_weight": 3.5 / 3, "tis_truncated": 1 / 3})


@pytest.mark.parametrize(("cap", "weight", "truncated"), [(2.0, 1.5, 0.0), (1.2, 1.2, 1.0)])
def test_sequence_level_by_hand(cap: float, weight: float, truncated: float):
    weights, stats = SequenceTruncation(cap)(SAMPLER + RATIO.log(), SAMPLER, MASK)
    # 3 x 1/2 x 1 = 1.5 for every token of the first row; the untrained row counts nowhere.
    assert_close(weights.expand(2, 5)[MASK], torch.full((3,), weight))
    assert values(stats) == pytest.approx({"tis_weight": weight, "tis_truncated": truncated})


@pytest.mark.parametrize("correction", [TokenTruncation(), SequenceTruncation()])
def test_weights_carry_no_gradient_and_survive_overflow(correction: TokenTruncation | SequenceTruncation):
    old = torch.full((2, 5), 500.0, requires_grad=True)
    weights, _ = correction(old, SAMPLER, MASK)
    assert not weights.requires_grad
    assert_close(weights.expand(2, 5)[MASK], torch.full((3,), 2.0))
