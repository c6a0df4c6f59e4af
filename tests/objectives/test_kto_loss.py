import math

import pytest
import torch
from torch.testing import assert_close

from rlsys.batch import LabelledBatch
from rlsys.objectives.kto_loss import KTOLoss, reference_point
from rlsys.objectives.outputs import Outputs
from rlsys.objectives.stats import merge, values

JUNK = 9.0
MASK = torch.tensor([[False, False, True, True], [False, False, True, False], [False, False, True, True]])
# Summed log-probs -1.5, -0.5, -3; of the reference -2, -1, -2: the log-ratios are 0.5, 0.5 and -1.
LOG_PROBS = [[JUNK, JUNK, -0.5, -1.0], [JUNK, JUNK, -0.5, JUNK], [JUNK, JUNK, -1.0, -2.0]]
BATCH = LabelledBatch(
    token_ids_BT=torch.zeros(3, 4, dtype=torch.long),
    loss_mask_BT=MASK,
    lengths_B=torch.tensor([4, 3, 4]),
    desirable_B=torch.tensor([True, False, False]),
    reference_log_probs_B=torch.tensor([-2.0, -1.0, -2.0]),
)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def outputs() -> Outputs:
    return Outputs(torch.tensor(LOG_PROBS, dtype=torch.float64, requires_grad=True))


def test_by_hand():
    """h is 2 x (0.5 - 0.25), and with the sign of undesirable answers -2 x (0.5 - 0.25) and -2 x (-1 - 0.25)."""
    loss, stats = KTOLoss(beta=2, z0=0.25, desirable_weight=1.5, undesirable_weight=0.5)(outputs(), BATCH)
    wanted = 1.5 * (1 - sigmoid(0.5)) + 0.5 * (1 - sigmoid(-0.5)) + 0.5 * (1 - sigmoid(2.5))
    assert loss.item() == pytest.approx(wanted)
    assert KTOLoss().normalizer(BATCH) == 3
    assert values(stats) == pytest.approx(
        {
            "loss": wanted / 3,
            "accuracy": 2 / 3,
            "desirable_log_prob": -1.5,
            "undesirable_log_prob": -1.75,
            "desirable_reward": 1.0,
            "undesirable_reward": -0.5,
        }
    )


def test_the_gradient_by_hand():
    """-weight x sigmoid'(h) x beta on each trained token of a desirable answer, the opposite sign on the others,
    nothing on prompts and padding."""
    given = outputs()
    loss, _ = KTOLoss(beta=2, z0=0.25, undesirable_weight=0.5)(given, BATCH)
    (gradient,) = torch.autograd.grad(loss, given.log_probs_BT)
    slopes = [
        -sigmoid(0.5) * sigmoid(-0.5) * 2,
        0.5 * sigmoid(0.5) * sigmoid(-0.5) * 2,
        0.5 * sigmoid(2.5) * sigmoid(-2.5) * 2,
    ]
    assert_close(gradient, torch.where(MASK, torch.tensor(slopes, dtype=torch.float64)[:, None], 0.0))


def test_at_the_reference_every_answer_costs_half_its_weight():
    at = Outputs(torch.tensor([[0, 0, -1.0, -1.0], [0, 0, -1.0, 0], [0, 0, -1.0, -1.0]]))
    loss, stats = KTOLoss(desirable_weight=3)(at, BATCH)
    assert loss.item() == pytest.approx(0.5 * (3 + 1 + 1))
    assert stats["accuracy"].value == 0.5


def test_parts_add_up_to_the_whole():
    loss, given = KTOLoss(beta=2, z0=0.25), outputs()
    whole, stats = loss(given, BATCH)
    parts = [loss(Outputs(given.log_probs_BT[rows]), BATCH.rows(rows)) for rows in ([0, 2],)]
    parts.append(loss(Outputs(given.log_probs_BT[[1], :3]), BATCH.rows([1])))
    assert sum(part.item() for part, _ in parts) == pytest.approx(whole.item())
    assert values(merge(part for _, part in parts)) == pytest.approx(values(stats))


def test_the_reference_point_is_a_mean_and_never_negative():
    assert reference_point(torch.tensor([-1.0, -2.0]), torch.tensor([-2.0, -2.5])) == pytest.approx(0.75)
    assert reference_point(torch.tensor([-3.0, -2.0]), torch.tensor([-2.0, -2.5])) == 0


@pytest.mark.parametrize(
    "settings", [{"beta": 0.0}, {"z0": -0.1}, {"desirable_weight": 0.0}, {"undesirable_weight": -1.0}]
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, float]):
    with pytest.raises(ValueError, match=next(iter(settings))):
        KTOLoss(**settings)
