import pickle

import pytest
import torch
from torch.testing import assert_close

from rlsys.batch import ValueBatch
from rlsys.objectives.outputs import ValueOutputs
from rlsys.objectives.stats import values
from rlsys.objectives.value_loss import ClippedValueLoss

# clip 0.2.   old  value  return   plain error   clipped value  its error   larger   0.5 x     gradient of the loss by
# the value             0    0.1    1        0.81          0.1            0.81        both     0.405     -0.9
# 0    0.5    1        0.25          0.2            0.64        clipped  0.32       0       far enough in the right
# direction             0    0.5   -1        2.25          0.2            1.44        plain    1.125      1.5     went
# the wrong way: pulled back             1    0.5    0        0.25          0.8            0.64        clipped  0.32
# 0       the same from above
OLD, VALUE, RETURN = [0.0, 0.0, 0.0, 1.0], [0.1, 0.5, 0.5, 0.5], [1.0, 1.0, -1.0, 0.0]
BATCH = ValueBatch(
    token_ids_BT=torch.zeros(1, 6, dtype=torch.long),
    loss_mask_BT=torch.tensor([[False, True, True, True, True, False]]),
    lengths_B=torch.tensor([5]),
    old_values_BT=torch.tensor([[0.0, *OLD, 0.0]]),
    returns_BT=torch.tensor([[0.0, *RETURN, 0.0]]),
)


def outputs() -> ValueOutputs:
    # The value before token t is the score of token t - 1; the last real token's score is not a value of any trained
    # token.
    return ValueOutputs(torch.tensor([[*VALUE, 7.0, 9.0]]).unsqueeze(-1).requires_grad_())


def test_by_hand():
    out = outputs()
    loss, stats = ClippedValueLoss(0.2)(out, BATCH)
    loss.backward()
    assert loss.item() == pytest.approx(0.405 + 0.32 + 1.125 + 0.32)
    assert out.scores_BTK.grad is not None
    assert_close(out.scores_BTK.grad[0, :, 0], torch.tensor([-0.9, 0.0, 1.5, 0.0, 0.0, 0.0]))
    assert ClippedValueLoss(0.2).normalizer(BATCH) == 4
    assert values(stats) == pytest.approx(
        {"value_loss": 2.17 / 4, "value_clip_fraction": 0.5, "value": 0.4, "return": 0.25}
    )


def test_without_clipping_it_is_half_the_squared_error():
    out = outputs()
    loss, stats = ClippedValueLoss(None)(out, BATCH)
    loss.backward()
    assert loss.item() == pytest.approx((0.81 + 0.25 + 2.25 + 0.25) / 2)
    assert out.scores_BTK.grad is not None
    assert_close(out.scores_BTK.grad[0, :, 0], torch.tensor([-0.9, -0.5, 1.5, 0.5, 0.0, 0.0]))
    assert stats["value_clip_fraction"].value == 0


def test_values_and_last_scores_of_an_ensemble():
    # Two heads; row 0 has 3 real tokens, row 1 two.
    out = ValueOutputs(torch.tensor([[[1.0, 3.0], [2.0, 6.0], [0.0, 8.0]], [[4.0, 4.0], [5.0, 7.0], [99.0, 99.0]]]))
    assert out.values_BT.tolist() == [[0.0, 2.0, 4.0], [0.0, 4.0, 6.0]]
    assert out.last_BK(torch.tensor([3, 2])).tolist() == [[0.0, 8.0], [5.0, 7.0]]


def test_rows_split_in_any_way_add_up():
    whole = BATCH.map(lambda value: value.repeat(3, *[1] * (value.dim() - 1)))
    scores = torch.randn(3, 6, 2, generator=torch.Generator().manual_seed(0))
    together, _ = ClippedValueLoss()(ValueOutputs(scores), whole)
    apart = [
        ClippedValueLoss()(ValueOutputs(scores[rows]), whole.map(lambda value, rows=rows: value[rows]))[0]
        for rows in ([2], [0, 1])
    ]
    assert_close(sum(apart), together)


@pytest.mark.parametrize("clip", [0.0, -0.1, float("nan")])
def test_impossible_clip(clip: float):
    with pytest.raises(ValueError, match="value clip"):
        ClippedValueLoss(clip)


def test_survives_the_way_to_the_ranks():
    assert pickle.loads(pickle.dumps(ClippedValueLoss(0.3))) == ClippedValueLoss(0.3)
