import pytest
import torch

from rlsys.objectives.reduction import Constant, Reduction, SequenceMean, TokenMean, make_reduction, normalizer

# Two trained sequences, of three tokens and of one, and one that is not trained on; nan and inf stand where nothing may
# look.
NAN, INF = float("nan"), float("inf")
VALUES = torch.tensor([[NAN, 1.0, 2.0, 6.0], [INF, 5.0, NAN, NAN], [NAN, NAN, INF, NAN]])
MASK = torch.tensor([[False, True, True, True], [False, True, False, False], [False] * 4])


@pytest.mark.parametrize(
    ("reduction", "total", "count", "gradient"),
    [
        (TokenMean(), 14.0, 4.0, [1.0, 1.0]),  # 1 + 2 + 6 + 5 over 4 tokens
        (SequenceMean(), 8.0, 2.0, [1 / 3, 1.0]),  # 9 / 3 + 5 / 1 over 2 sequences
        (Constant(10), 14.0, 20.0, [1.0, 1.0]),  # 14 over 2 sequences x 10 tokens
    ],
)
def test_by_hand(reduction: Reduction, total: float, count: float, gradient: list[float]):
    values = VALUES.clone().requires_grad_()
    loss = reduction.sum(values, MASK)
    assert loss.item() == pytest.approx(total)
    assert reduction.count(MASK) == normalizer(reduction, MASK) == count
    loss.backward()
    assert values.grad is not None
    a, b = gradient
    assert values.grad.flatten().tolist() == pytest.approx([0, a, a, a, 0, b, 0, 0, 0, 0, 0, 0])


def test_by_name():
    assert make_reduction("token_mean", 10) == TokenMean()
    assert make_reduction("sequence_mean", 10) == SequenceMean()
    assert make_reduction("constant", 10) == Constant(10)


@pytest.mark.parametrize("reduction", [TokenMean(), SequenceMean(), Constant(10)])
def test_nothing_to_train_on(reduction: Reduction):
    with pytest.raises(ValueError, match="none of the batch's 2 sequences"):
        normalizer(reduction, torch.zeros(2, 3, dtype=torch.bool))
